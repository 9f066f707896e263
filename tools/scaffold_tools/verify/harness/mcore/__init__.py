"""megatron-core and Megatron-Bridge on this machine: patched for a CPU, told what to build."""
