"""Small charts as inline SVG: text stays text, so a page of them is light and sharp."""
