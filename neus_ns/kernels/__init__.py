"""The few hot loops: hash jets and packed compositing. One interface, one reference in plain torch, one fast source.

Callers use `encode.jet` and `packed.*` with a backend name from `backend.choose_backend`; nothing else in the package
knows which implementation runs.
"""
