//! A small SVG writer: shapes by class, text escaped, coordinates with one decimal.

use std::fmt::Write;

use crate::markup::escape;

/// A point: x to the right, y downwards, in the units of the view box.
pub(super) type Point = (f64, f64);

/// Position and size of a rectangle.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The symbol of a method, so that methods differ without colour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// A chart in the making.
pub(super) struct Drawing {
    head: String,
    body: String,
}

impl Drawing {
    /// `id` must be unique on a page; title and description are what a screen reader says.
    pub(super) fn new(id: &str, (width, height): Point, title: &str, description: &str) -> Self {
        let (width, height, title, description) =
            (short(width), short(height), escape(title), escape(description));
        let head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-description\">\
             <title id=\"{id}-title\">{title}</title><desc id=\"{id}-description\">{description}</desc>"
        );
        Self { head, body: String::new() }
    }

    pub(super) fn finish(self) -> String {
        format!("{}{}</svg>", self.head, self.body)
    }

    /// Draws inside a group of the given class.
    pub(super) fn group(&mut self, class: &str, draw: impl FnOnce(&mut Self)) {
        self.push(format_args!("<g class=\"{}\">", escape(class)));
        draw(self);
        self.body.push_str("</g>");
    }

    pub(super) fn rectangle(&mut self, class: &str, area: Area) {
        self.push(format_args!("<rect class=\"{class}\" {}/>", coordinates(area)));
    }

    /// A rectangle of the given opacity that says `tooltip` under the pointer.
    pub(super) fn heat(&mut self, class: &str, area: Area, opacity: f64, tooltip: &str) {
        let (coordinates, tooltip) = (coordinates(area), escape(tooltip));
        self.push(format_args!(
            "<rect class=\"{class}\" {coordinates} fill-opacity=\"{opacity:.2}\"><title>{tooltip}</title></rect>"
        ));
    }

    pub(super) fn line(&mut self, class: &str, from: Point, to: Point) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(short);
        self.push(format_args!("<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"));
    }

    /// Text with its baseline at `at`.
    pub(super) fn text(&mut self, class: &str, at: Point, text: &str) {
        let (x, y, text) = (short(at.0), short(at.1), escape(text));
        self.push(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>"));
    }

    /// Text that rises to the right from `at`.
    pub(super) fn rising_text(&mut self, class: &str, at: Point, text: &str) {
        let (x, y, text) = (short(at.0), short(at.1), escape(text));
        self.push(format_args!(
            "<text class=\"{class}\" transform=\"translate({x} {y}) rotate(-45)\">{text}</text>"
        ));
    }

    /// A line through the points.
    pub(super) fn curve(&mut self, class: &str, points: &[Point]) {
        self.push(format_args!("<path class=\"{class}\" d=\"M{}\"/>", joined(points)));
    }

    /// A closed surface with the points as corners.
    pub(super) fn surface(&mut self, class: &str, points: &[Point]) {
        self.push(format_args!("<path class=\"{class}\" d=\"M{}Z\"/>", joined(points)));
    }

    pub(super) fn marker(&mut self, class: &str, marker: Marker, (x, y): Point, radius: f64) {
        let r = radius;
        match marker {
            Marker::Circle => {
                let (x, y, r) = (short(x), short(y), short(r));
                self.push(format_args!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{r}\"/>"));
            }
            Marker::Square => {
                let s = r * 0.9;
                self.surface(class, &[(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)]);
            }
            Marker::Triangle => {
                self.surface(
                    class,
                    &[(x, y - r * 1.15), (x + r * 1.1, y + r * 0.8), (x - r * 1.1, y + r * 0.8)],
                );
            }
            Marker::Diamond => {
                let s = r * 1.2;
                self.surface(class, &[(x, y - s), (x + s, y), (x, y + s), (x - s, y)]);
            }
        }
    }

    fn push(&mut self, markup: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.body.write_fmt(markup);
    }
}

fn coordinates(area: Area) -> String {
    let [x, y, width, height] = [area.x, area.y, area.width, area.height].map(short);
    format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"")
}

fn joined(points: &[Point]) -> String {
    points.iter().map(|(x, y)| format!("{} {}", short(*x), short(*y))).collect::<Vec<_>>().join("L")
}

/// A coordinate with at most one decimal; anything that is no number becomes 0, because it would void the file.
fn short(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        assert_eq!(short(12.04), "12");
        assert_eq!(short(12.06), "12.1");
        assert_eq!(short(f64::NAN), "0");
    }

    #[test]
    fn text_titles_and_tooltips_are_escaped() {
        let mut drawing = Drawing::new("x", (10.0, 10.0), "<t>", "a & b");
        drawing.text("small", (1.0, 2.0), "</text><script>");
        drawing.heat("right", Area { x: 0.0, y: 0.0, width: 1.0, height: 1.0 }, 0.5, "\"<");
        let svg = drawing.finish();
        assert!(svg.contains("&lt;t&gt;") && svg.contains("a &amp; b") && svg.contains("&quot;&lt;"));
        assert!(!svg.contains("<script"));
    }
}
