"""Slicer's own colors, light and dark, by the names of Qt's roles; facts of `Base/QTGUI/qSlicerStyle.cxx`, 5.12."""

from __future__ import annotations

from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

_COLORS = {
    "Window": ("white", "#323232"),
    "WindowText": ("black", "white"),
    "Base": ("white", "#1e1e1e"),
    "AlternateBase": ("#e4e4fe", "#323232"),
    "ToolTipBase": ("#ffffdc", "white"),
    "ToolTipText": ("black", "#323232"),
    "Text": ("black", "white"),
    "PlaceholderText": ("darkGray", "lightGray"),
    "Button": ("#fcfcfc", "#323232"),
    "ButtonText": ("black", "white"),
    "BrightText": ("red", "#ff4444"),
    "Light": ("#c8c8c8", "#828284"),
    "Midlight": ("#e6e6e6", "#5a5a5b"),
    "Dark": ("#aaaaaa", "#232323"),
    "Mid": ("#c8c8c8", "#2b2b2b"),
    "Shadow": ("#5a5a5a", "#141414"),
    "Highlight": ("#308cc6", "#3ca4ff"),
    "HighlightedText": ("white", "white"),
    "Link": ("#0000ff", "#3ca4ff"),
}
_DISABLED = {
    "WindowText": ("#bebebe", "#6d6d6d"),
    "Text": ("#bebebe", "#6d6d6d"),
    "ButtonText": ("#bebebe", "#b4b4b4"),
}
THEMES = ("light", "dark")


def setTheme(name: str) -> None:
    """Give the application the colors of a theme: "light" or "dark"."""
    palette, number = QPalette(), THEMES.index(name)
    for role, colors in _COLORS.items():
        palette.setColor(QPalette.ColorRole[role], QColor(colors[number]))
    for role, colors in _DISABLED.items():
        palette.setColor(QPalette.ColorGroup.Disabled, QPalette.ColorRole[role], QColor(colors[number]))
    QApplication.setStyle("Fusion")
    QApplication.setPalette(palette)
