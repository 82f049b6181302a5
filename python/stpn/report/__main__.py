import sys

try:
    from stpn.report.main import main
except ImportError as error:
    print(f"stpn: {error}: set STPN_PYTHON to a Python with the packages of python/requirements.txt", file=sys.stderr)
    sys.exit(2)

sys.exit(main())
