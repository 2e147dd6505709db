"""What every test module wants."""

from neus_ns.kernels.resting import let_waiting_threads_sleep

# Test processes side by side, and what else the machine does, would otherwise wait for one another.
let_waiting_threads_sleep()
