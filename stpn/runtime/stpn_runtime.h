/* Runs a trained short-term plasticity neuron step by step, without torch: a C interface to the
 * checkpoints that `stpn train` writes. Links libstpn_runtime.so.
 *
 *   char error[200];
 *   stpn_network* network = stpn_load("runs/maze/stpn/seed1", error, sizeof error);
 *   stpn_memory* memory = stpn_new_memory(network);
 *   stpn_step(memory, x);                            one time step
 *   stpn_output(memory, 0, logits);                  of the first head
 *
 * A network is constant after stpn_load: any number of threads may use it, each with memories of
 * its own. A memory keeps no reference to anything but its network, which must outlive it. After
 * stpn_new_memory nothing is allocated. Equations and variants: stpn/kernels/stpn/equations.h.
 */
#ifndef STPN_RUNTIME_STPN_RUNTIME_H_
#define STPN_RUNTIME_STPN_RUNTIME_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stpn_network stpn_network; /* a unit and the linear heads on its activity */
typedef struct stpn_memory stpn_memory;   /* the state of one sample: h and F */

/* path: a checkpoint, or a run folder, of which the best weights count, else the last. Null if that
 * is no network that this library runs, with one line that says why in `error`, which has `size`
 * bytes. Units: stpn_recurrent and stpn_feedforward, without an encoder of images. */
stpn_network* stpn_load(const char* path, char* error, size_t size);
void stpn_free(stpn_network* network);

int64_t stpn_inputs(const stpn_network* network);  /* I */
int64_t stpn_neurons(const stpn_network* network); /* H */
int64_t stpn_plastic(
    const stpn_network* network); /* P: presynaptic inputs of a neuron with fast weights */

/* Heads, in the order of their names: "head" of a supervised run; "policy" and "value" of an agent.
 * The name is null and the size 0 for a head that there is not. */
const char* stpn_head_name(const stpn_network* network, int64_t head);
int64_t stpn_head_size(const stpn_network* network, int64_t head);

/* A memory with a state of zeros; null if there is not enough memory. */
stpn_memory* stpn_new_memory(const stpn_network* network);
void stpn_free_memory(stpn_memory* memory);
void stpn_reset(stpn_memory* memory); /* to zeros, where a new sequence or episode begins */

/* One time step with the inputs x (I). */
void stpn_step(stpn_memory* memory, const float* x);
/* Writes what the head makes of the activity of the last step: (size of the head). */
void stpn_output(const stpn_memory* memory, int64_t head, float* out);

/* The state, to read or to replace between two steps: the activity h (H), the fast weights F (H, P)
 * and, null without a plastic bias, its fast part (H). */
float* stpn_h(stpn_memory* memory);
float* stpn_F(stpn_memory* memory);
float* stpn_beta(stpn_memory* memory);

#ifdef __cplusplus
}
#endif

#endif
