from __future__ import annotations

import os

# Read when Haystack is imported, which otherwise writes to the home folder.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
