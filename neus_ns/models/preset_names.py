"""Names of the sets of sizes (`models.sizes`), apart so that commands know them before nerfstudio is loaded."""

from typing import Literal

Preset = Literal["cpu", "8gb", "12gb", "16gb", "24gb"]
PresetChoice = Literal["auto", "given", "cpu", "8gb", "12gb", "16gb", "24gb"]
