"""What a worker may touch: the plan, the layers of the kernel, the doctor."""
