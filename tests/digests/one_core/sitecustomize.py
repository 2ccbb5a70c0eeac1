"""Python starts with this where its folder is on the path: whoever counts the computer's cores finds one."""

import os

os.cpu_count = lambda: 1
