//! A run record to JSON, Markdown, SVG and one self-contained HTML file.
