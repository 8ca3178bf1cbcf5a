//! A layer's settings under the names that three generations of Keras gave them.

use serde_json::Value as Json;

/// The `config` of a layer. Every lookup takes the setting's names, newest first.
#[derive(Clone, Copy)]
pub(super) struct Settings<'a>(&'a Json);

impl<'a> Settings<'a> {
    pub(super) fn of(config: &'a Json) -> Self {
        Self(config)
    }

    /// All of it. A sequential model's configuration may be no object but the list of its layers.
    pub(super) fn json(&self) -> &'a Json {
        self.0
    }

    /// The setting, where it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn any(&self, names: &[&str]) -> Option<&'a Json> {
        names.iter().find_map(|name| self.get(name))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    pub(super) fn flag(&self, names: &[&str], default: bool) -> bool {
        self.any(names).and_then(Json::as_bool).unwrap_or(default)
    }

    pub(super) fn number(&self, names: &[&str], default: f64) -> f64 {
        self.any(names).and_then(number).unwrap_or(default)
    }

    pub(super) fn count(&self, names: &[&str]) -> Option<usize> {
        self.any(names).and_then(count)
    }

    /// Two sizes, given as two numbers or as one for both.
    pub(super) fn pair(&self, names: &[&str]) -> Option<[usize; 2]> {
        match self.any(names)? {
            Json::Array(sizes) => match sizes.as_slice() {
                [first, second] => Some([count(first)?, count(second)?]),
                _ => None,
            },
            size => count(size).map(|size| [size; 2]),
        }
    }

    /// One size, given as a number or as a list of one.
    pub(super) fn single(&self, names: &[&str]) -> Option<usize> {
        match self.any(names)? {
            Json::Array(sizes) => match sizes.as_slice() {
                [size] => count(size),
                _ => None,
            },
            size => count(size),
        }
    }

    /// Whole numbers, given as a list or as one.
    pub(super) fn integers(&self, names: &[&str]) -> Option<Vec<i64>> {
        match self.any(names)? {
            Json::Array(numbers) => numbers.iter().map(Json::as_i64).collect(),
            number => number.as_i64().map(|number| vec![number]),
        }
    }

    /// Whether images are batch × channels × height × width.
    pub(super) fn channels_first(&self) -> bool {
        let format = self.any(&["data_format", "dim_ordering"]).and_then(Json::as_str);
        matches!(format, Some("channels_first" | "th"))
    }

    /// A border of zeros or an end to cut off: `[[top, bottom], [left, right]]`, one number for all sides, or one for
    /// top and bottom and one for left and right.
    pub(super) fn borders(&self, names: &[&str]) -> Option<[[usize; 2]; 2]> {
        if let Some([down, right]) = self.pair(names) {
            return Some([[down; 2], [right; 2]]);
        }
        let [down, right] = self.any(names)?.as_array()?.as_slice() else { return None };
        let side = |json: &Json| match json.as_array()?.as_slice() {
            [before, after] => Some([count(before)?, count(after)?]),
            _ => None,
        };
        Some([side(down)?, side(right)?])
    }
}

/// A number; a `{"class_name": "__numpy__"}` or a string is none.
fn number(json: &Json) -> Option<f64> {
    json.as_f64().or_else(|| {
        // NumPy scalars of Keras 2 were written as {"type": "float32", "value": 0.3}, lists as [0.3].
        json.get("value").and_then(Json::as_f64)
    })
}

fn count(json: &Json) -> Option<usize> {
    json.as_u64().and_then(|size| usize::try_from(size).ok())
}
