"""Draws the pictures of README.md from the real program:

    docs/pictures/draw.py PROGRAM

diagnostic-light.svg and diagnostic-dark.svg show what `cinequery query` prints on a terminal for a filter with two
mistakes; console.png and docs.png are the pages at / and /docs in Chromium. `make pictures` runs this.
"""

import os
import pty
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

FILTER = 'gnre = "drama" and expiry_date between 2024-06-30 and 2024-01-01'
HERE = Path(__file__).parent
# The colours of GitHub's terminals, which are legible on its pages.
LIGHT = TerminalTheme(
    (246, 248, 250),
    (31, 35, 40),
    [(31, 35, 40), (207, 34, 46), (17, 99, 41), (77, 45, 0), (9, 105, 218), (130, 80, 223), (27, 124, 131), (110, 119, 129)],
    [(87, 96, 106), (164, 14, 38), (26, 127, 55), (99, 60, 1), (33, 139, 255), (164, 117, 249), (49, 146, 170), (140, 149, 159)],
)
DARK = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34), (88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)],
    [(110, 118, 129), (255, 161, 152), (86, 211, 100), (227, 179, 65), (121, 192, 255), (210, 168, 255), (86, 212, 221), (240, 246, 252)],
)
# Like rich's own, without its web fonts: GitHub loads none.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g>
</g>
</svg>
"""


def on_a_terminal(*command):
    """What the command prints on a terminal."""
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(command, stdout=its_end, stderr=its_end, stdin=its_end)
    os.close(its_end)
    printed = b""
    try:
        while chunk := os.read(terminal, 4096):
            printed += chunk
    except OSError:
        pass  # Linux reports the end so.
    process.wait()
    os.close(terminal)
    return printed.decode().replace("\r\n", "\n")


# Pages: the name of the picture, the path, the width and the height of the window.
PAGES = [
    ("console", "/#/movies?filter=genre+in+('drama','comedy')+and+release_year+>+1960&order_by=expiry_date", ("1280", "860")),
    ("docs", "/docs", ("1200", "1100")),
]


def draw_diagnostic(program):
    with tempfile.TemporaryDirectory() as folder:
        printed = on_a_terminal(program, "query", "--sql", FILTER, "--database", f"sqlite:{folder}/none.db")
    text = Text.from_ansi(f"$ cinequery query '{FILTER}'\n" + printed.rstrip())
    columns = max(len(line) for line in text.plain.splitlines()) + 1
    for name, theme in (("light", LIGHT), ("dark", DARK)):
        console = Console(record=True, width=columns, file=open(os.devnull, "w"), force_terminal=True)
        console.print(text, soft_wrap=True)
        svg = console.export_svg(title="", theme=theme, code_format=SVG, unique_id="diagnostic")
        (HERE / f"diagnostic-{name}.svg").write_text(re.sub(r"[ \t]+\n", "\n", svg))


def draw_pages(program):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = "{}:{}".format(*probe.getsockname())
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TMPDIR": folder}
        service = subprocess.Popen([program, "demo", "--listen", listen], env=environment, stdout=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    urllib.request.urlopen(f"http://{listen}/readyz", timeout=1)
                    break
                except OSError:
                    time.sleep(0.1)
            for name, path, size in PAGES:
                shoot = ["node", HERE / "shoot.mjs", f"http://{listen}{path}", HERE / f"{name}.png", *size]
                subprocess.run(shoot, check=True, timeout=120)
        finally:
            service.terminate()
            service.wait()


program = str(Path(sys.argv[1]).resolve())
draw_diagnostic(program)
draw_pages(program)
