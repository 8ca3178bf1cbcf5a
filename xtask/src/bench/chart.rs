//! Small diagrams, as SVG: lines over a logarithmic axis, from zero.

use std::fmt::Write as _;

/// One diagram.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) series: Vec<Series>,
}

/// One line of it.
pub(crate) struct Series {
    pub(crate) name: String,
    /// Place and height.
    pub(crate) points: Vec<[f64; 2]>,
}

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
/// Around what is drawn, for titles and numbers.
const MARGIN: f64 = 44.0;
const COLOURS: [&str; 2] = ["#1f5fa8", "#c2571a"];

/// The panels side by side. Dark pages keep a white ground under them.
pub(crate) fn svg(panels: &[Panel]) -> String {
    let width = WIDTH * panels.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" width=\"{width}\" \
         height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"10\" fill=\"#333\">\n<rect width=\"{width}\" \
         height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let left = WIDTH * index as f64;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "<g transform=\"translate({left} 0)\">\n{}</g>", draw(panel));
    }
    text + "</svg>\n"
}

fn draw(panel: &Panel) -> String {
    let mut text = label(WIDTH / 2.0, 16.0, "middle", &panel.title);
    let scale = Scale::of(panel);
    text += &scale.axes();
    for (index, (series, colour)) in panel.series.iter().zip(COLOURS).enumerate() {
        let points = series.points.iter().map(|point| scale.place(*point));
        let points: Vec<[f64; 2]> = points.collect();
        text += &line(&points, colour);
        let name = format!("<tspan fill=\"{colour}\">{}</tspan>", series.name);
        text += &label(WIDTH - 12.0, 30.0 + 12.0 * index as f64, "end", &name);
    }
    text
}

fn line(points: &[[f64; 2]], colour: &str) -> String {
    let path = points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    let mut text =
        format!("<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n");
    for [x, y] in points {
        let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
    }
    text
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}

/// From measured values to the drawing.
struct Scale {
    places: Vec<f64>,
    first: f64,
    last: f64,
    top: f64,
}

impl Scale {
    fn of(panel: &Panel) -> Self {
        let points = panel.series.iter().flat_map(|series| &series.points);
        let mut places: Vec<f64> = points.clone().map(|[x, _]| *x).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let [first, last] = [places.first(), places.last()].map(|end| end.copied().unwrap_or(1.0));
        Self { places, first, last, top: round_up(points.map(|[_, y]| *y).fold(0.0, f64::max)) }
    }

    fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let share =
            if self.last > self.first { (x / self.first).ln() / (self.last / self.first).ln() } else { 0.5 };
        let (width, height) = (WIDTH - 2.0 * MARGIN, HEIGHT - 2.0 * MARGIN);
        [MARGIN + share * width, HEIGHT - MARGIN - y / self.top * height]
    }

    /// The places that were measured, where there is room for their numbers, and three heights.
    fn axes(&self) -> String {
        let mut text = String::new();
        let mut free = 0.0;
        for place in &self.places {
            let [x, y] = self.place([*place, 0.0]);
            if x >= free {
                text += &label(x, y + 16.0, "middle", &place.to_string());
                free = x + 26.0;
            }
        }
        for height in [0.0, 0.5, 1.0].map(|share| share * self.top) {
            let [x, y] = self.place([self.first, height]);
            let right = WIDTH - MARGIN;
            text += &format!("<path d=\"M{x:.1} {y:.1}H{right}\" stroke=\"#ccc\"/>\n");
            text += &label(MARGIN - 6.0, y + 3.0, "end", &height.to_string());
        }
        text
    }
}

/// To a number that is read easily, as is its half.
fn round_up(value: f64) -> f64 {
    let magnitude = 10f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0].map(|step| step * magnitude);
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::{Panel, Series, round_up, svg};

    #[test]
    fn a_panel_has_its_points_and_numbers() {
        let series = Series { name: "2 threads".to_owned(), points: vec![[1.0, 30.0], [8.0, 55.0]] };
        let text = svg(&[Panel { title: "ms an image".to_owned(), series: vec![series] }]);
        assert_eq!(text.matches("<circle").count(), 2);
        for part in [">ms an image<", ">2 threads<", ">1<", ">8<", ">0<", ">30<", ">60<"] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn the_top_is_easily_read() {
        assert_eq!([0.9, 1.0, 13.0, 350.0, 6100.0].map(round_up), [1.0, 1.0, 20.0, 400.0, 8000.0]);
    }
}
