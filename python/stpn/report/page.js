// Draws the figures with Vega, and the synapses at work on canvases.
const specs = JSON.parse(document.getElementById("specs").textContent);
const synapses = JSON.parse(document.getElementById("synapses").textContent);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

async function drawFigures() {
  const options = {actions: false, renderer: "svg", ast: false};
  for (const [id, spec] of Object.entries(specs)) {
    await window.vegaEmbed(document.getElementById(id), spec, options);
    await new Promise(requestAnimationFrame);  // the page stays responsive
  }
  document.documentElement.dataset.drawn = "yes";
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Int8Array(await new Response(stream).arrayBuffer());
}

// Blue for negative, white for none, red for positive; value from -1 to 1. A root spreads small values.
function colour(value) {
  const strength = Math.sqrt(Math.min(1, Math.abs(value)));
  const end = value < 0 ? [33, 102, 172] : [178, 24, 43];
  return end.map((part) => Math.round(247 + (part - 247) * strength));
}

function element(name, attributes, parent, text) {
  const made = document.createElementNS(name === "li" || name === "ul" ? "http://www.w3.org/1999/xhtml"
                                                                       : "http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

// What the network saw and did. Each returns a function that shows step `frame` and returns words.
const worlds = {
  sequence(box, data) {
    const {inputs, answers, targets} = data.shown;
    const list = element("ul", {class: "symbols"}, box);
    const items = inputs.map((input) => element("li", {}, list, data.names[input]));
    return (frame) => {
      items.forEach((item, t) => { item.className = t === frame ? "now" : t < frame ? "past" : ""; });
      const asked = targets[frame] !== null;
      return asked ? `Reads ${data.names[inputs[frame]]} and answers ${data.names[answers[frame]]}: ` +
                     (answers[frame] === targets[frame] ? "right." : `wrong, it is ${data.names[targets[frame]]}.`)
                   : `Reads ${data.names[inputs[frame]]}. Nothing is asked yet.`;
    };
  },
  maze(box, data) {
    const {walls, positions, reward_cell: goal, actions, rewards} = data.shown;
    const size = walls.length;
    const svg = element("svg", {viewBox: `0 0 ${size} ${size}`, "aria-hidden": "true"}, box);
    element("rect", {width: size, height: size, fill: "#fff"}, svg);
    walls.forEach((row, y) => [...row].forEach((cell, x) => {
      if (cell === "#") element("rect", {x, y, width: 1, height: 1, fill: "#4a4a4a"}, svg);
    }));
    element("rect", {x: goal[1], y: goal[0], width: 1, height: 1, fill: "#D55E00"}, svg);
    const trail = element("polyline", {fill: "none", stroke: "#0072B2", "stroke-width": 0.18, "stroke-opacity": 0.5,
                                       "stroke-linejoin": "round"}, svg);
    const agent = element("circle", {r: 0.36, fill: "#0072B2", stroke: "#fff", "stroke-width": 0.08}, svg);
    return (frame) => {
      const t = frame * data.every;
      let first = Math.max(0, t - 12);
      for (let i = t; i > first; i--) {  // not across a teleport
        if (Math.abs(positions[i][0] - positions[i - 1][0]) + Math.abs(positions[i][1] - positions[i - 1][1]) > 1) first = i;
      }
      trail.setAttribute("points", positions.slice(first, t + 1).map(([y, x]) => `${x + 0.5},${y + 0.5}`).join(" "));
      agent.setAttribute("cx", positions[t][1] + 0.5);
      agent.setAttribute("cy", positions[t][0] + 0.5);
      return `Goes ${actions[frame]}. Reward so far: ${rewards[frame]}. The orange cell gives the reward; the agent cannot see it.`;
    };
  },
  pendulum(box, data) {
    const {qpos, actions, rewards} = data.shown;
    const svg = element("svg", {viewBox: "-1.3 -0.9 2.6 1.4", "aria-hidden": "true"}, box);
    element("line", {x1: -1, x2: 1, y1: 0, y2: 0, stroke: "#999", "stroke-width": 0.03}, svg);
    const cart = element("rect", {y: -0.07, width: 0.36, height: 0.14, fill: "#4a4a4a"}, svg);
    const pole = element("line", {y1: 0, stroke: "#D55E00", "stroke-width": 0.06, "stroke-linecap": "round"}, svg);
    return (frame) => {
      const [position, angle] = qpos[frame];
      const tilt = Math.max(-1.5, Math.min(1.5, 20 * angle));
      cart.setAttribute("x", position - 0.18);
      pole.setAttribute("x1", position);
      pole.setAttribute("x2", position + 0.6 * Math.sin(tilt));
      pole.setAttribute("y2", -0.6 * Math.cos(tilt));
      return `Pushes with ${actions[frame]}. Reward so far: ${rewards[frame]}. The pole's angle is drawn 20 times as large.`;
    };
  },
  numbers(box, data) {
    const {numbers, answers, targets} = data.shown;
    const count = numbers[0].length;
    const svg = element("svg", {viewBox: `0 -1 ${count} 2`, preserveAspectRatio: "none", height: "160", "aria-hidden": "true"}, box);
    const bound = Math.max(...numbers.flat().map(Math.abs)) || 1;
    const bars = numbers[0].map((_, i) => element("rect", {x: i + 0.1, width: 0.8, fill: "#0072B2"}, svg));
    return (frame) => {
      bars.forEach((bar, i) => {
        const value = numbers[frame][i] / bound;
        bar.setAttribute("y", Math.min(0, -value));
        bar.setAttribute("height", Math.abs(value));
      });
      if (!answers) return `Sees ${count} numbers.`;
      return targets[frame] === null ? "Nothing is asked yet." : `Answers ${answers[frame]}; right is ${targets[frame]}.`;
    };
  },
};

class View {
  constructor(section, data, fast, weight) {
    Object.assign(this, {section, data, fast, weight, frame: 0, mode: "fast", timer: null});
    this.slider = section.querySelector("input");
    this.output = section.querySelector("output");
    this.button = section.querySelector("button");
    this.matrix = section.querySelector(".matrix canvas");
    this.strip = section.querySelector(".strip canvas");
    this.words = section.querySelector(".words");
    this.sumBound = this.boundOfSum();
    this.world = worlds[data.shown.kind](section.querySelector(".drawing"), data);
    section.querySelector(".matrix .axis").textContent = data.inputs === 0 ? `${data.columns} neurons`
      : data.columns > data.inputs ? `${data.inputs} inputs, then, right of the line, ${data.columns - data.inputs} neurons`
      : `${data.inputs} inputs`;
    this.slider.addEventListener("input", () => { this.stop(); this.show(Number(this.slider.value)); });
    this.button.addEventListener("click", () => this.timer ? this.stop() : this.play());
    section.querySelector("select").addEventListener("change", (event) => { this.mode = event.target.value; this.draw(); });
    this.strip.addEventListener("click", (event) => {
      this.stop();
      this.show(Math.round(event.offsetX / this.strip.clientWidth * (data.frames - 1)));
    });
    this.matrix.addEventListener("pointermove", (event) => this.point(event));
    this.matrix.addEventListener("pointerleave", () => this.scale());
    new ResizeObserver(() => this.draw()).observe(this.matrix);
    this.show(data.frames - 1);  // what was learnt is seen without a click, on paper too
  }

  boundOfSum() {
    let bound = 0;
    const {fast, weight, data} = this;
    for (let i = 0; i < fast.length; i++) {
      bound = Math.max(bound, Math.abs(fast[i] * data.fastBound + weight[i % weight.length] * data.weightBound) / 127);
    }
    return bound || 1;
  }

  bound() { return {fast: this.data.fastBound, weight: this.data.weightBound, sum: this.sumBound}[this.mode]; }

  value(row, column) {
    const {data} = this, place = row * data.columns + column;
    const F = this.fast[this.frame * this.weight.length + place] / 127 * data.fastBound;
    const W = this.weight[place] / 127 * data.weightBound;
    return {fast: F, weight: W, sum: F + W}[this.mode];
  }

  play() {
    if (this.frame === this.data.frames - 1) this.show(0);
    const wait = this.data.frames < 20 ? 900 : 120;
    this.timer = setInterval(() => {
      this.show(this.frame + 1);
      if (this.frame === this.data.frames - 1) this.stop();
    }, still ? Math.max(wait, 1000) : wait);
    this.button.textContent = "Pause";
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "Play";
  }

  show(frame) {
    this.frame = frame;
    this.slider.value = frame;
    const step = frame * this.data.every + 1;
    this.output.textContent = step;
    const words = this.world(frame);
    this.words.textContent = words;
    this.slider.setAttribute("aria-valuetext", `step ${step}: ${words}`);
    this.draw();
  }

  draw() {
    this.drawMatrix();
    this.drawStrip();
    this.scale();
  }

  drawMatrix() {
    const {neurons, columns, inputs} = this.data, bound = this.bound();
    const small = new ImageData(columns, neurons);
    for (let row = 0; row < neurons; row++) {
      for (let column = 0; column < columns; column++) {
        small.data.set([...colour(this.value(row, column) / bound), 255], 4 * (row * columns + column));
      }
    }
    const [context, width, whole] = this.fit(this.matrix);
    const height = whole - this.band(), column = width / columns;
    const hidden = new OffscreenCanvas(columns, neurons);
    hidden.getContext("2d").putImageData(small, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(hidden, 0, 0, width, height);
    if (0 < inputs && inputs < columns) {
      context.fillStyle = "#1c1c1c";
      context.fillRect(inputs / columns * width - 0.5, 0, 1.5, height);
    }
    if (this.band() === 0) return;
    context.font = "11px Helvetica, Arial, sans-serif";
    context.textAlign = "center";
    const now = this.data.shown.inputs[this.frame];
    for (let i = 0; i < inputs; i++) {
      context.fillStyle = i === now ? "#0059a0" : "#5a5a5a";
      context.fillText(this.data.names[i], (i + 0.5) * column, whole - 5);
      if (i === now) context.fillRect(i * column, height, column, 3);
    }
  }

  // The height of the names of the inputs below the matrix, where there is room for them.
  band() {
    const {shown, columns, inputs, names} = this.data;
    const room = shown.kind === "sequence" && inputs > 0 && names.every((name) => name.length === 1);
    return room && this.matrix.clientWidth / columns >= 9 ? 18 : 0;
  }

  drawStrip() {
    const {strength, frames} = this.data;
    const [context, width, height] = this.fit(this.strip);
    const top = Math.max(...strength) || 1;
    const x = (frame) => 4 + frame / Math.max(1, frames - 1) * (width - 8);
    const y = (value) => height - 4 - value / top * (height - 10);
    context.clearRect(0, 0, width, height);
    context.strokeStyle = "#0072B2";
    context.lineWidth = 2;
    context.beginPath();
    strength.forEach((value, frame) => context.lineTo(x(frame), y(value)));
    context.stroke();
    context.fillStyle = "#D55E00";
    context.fillRect(x(this.frame) - 1, 0, 2, height);
  }

  // The context of a canvas that has as many pixels as the screen shows of it, and its size.
  fit(canvas) {
    const ratio = window.devicePixelRatio || 1, {clientWidth: width, clientHeight: height} = canvas;
    canvas.width = Math.max(1, Math.round(width * ratio));
    canvas.height = Math.max(1, Math.round(height * ratio));
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return [context, width, height];
  }

  scale() {
    const text = this.bound().toPrecision(2), line = this.section.querySelector(".scale");
    line.replaceChildren(`−${text}`, document.createElement("span"), `${text}; colours by the root of the size`);
  }

  point(event) {
    const {neurons, columns, presynaptic} = this.data;
    const row = Math.min(neurons - 1, Math.floor(event.offsetY / (this.matrix.clientHeight - this.band()) * neurons));
    const column = Math.min(columns - 1, Math.floor(event.offsetX / this.matrix.clientWidth * columns));
    this.section.querySelector(".scale").textContent =
      `from ${presynaptic[column]} to neuron ${row + 1}: ${this.value(row, column).toPrecision(3)}`;
  }
}

async function showSynapses() {
  for (const section of document.querySelectorAll("section.synapses")) {
    const data = synapses[section.dataset.task];
    section.view = new View(section, data, await unpacked(data.fast), await unpacked(data.weight));
  }
}

await showSynapses();
await drawFigures();
