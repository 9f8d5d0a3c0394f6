// Package bed boots PID 1 in a small machine with the services that a test gives it, and lets the test act inside.
//
// Everything that PID 1 deals with is real: the release's kernel, a root of
// EROFS under dm-verity, a GPT disk with a state partition, services as
// specifications on the root. What is missing is what its tests don't need:
// firmware, TPM, network, containerd, kubelet. The kernel is booted directly,
// so a machine costs seconds.
//
// The services run the program tests/bed/actor, which can behave badly in many
// ways. One service, the driver, is always there: it carries out single
// operations that the test asks for, see package wire.
package bed
