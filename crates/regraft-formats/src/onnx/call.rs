//! One node of a file with its inputs: typed access to what its operator was told.

use super::constant::{Constant, Data, decode, unknown_size};
use super::schema::{Attribute, Node};
use super::value::{Value, Wire};
use super::whole::Whole;

/// Numbers that say how an operator works: a few for each axis.
const MOST_SETTINGS: usize = 1 << 10;

/// Whether a domain is that of ONNX's own operators.
pub(super) fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// A node about to be read.
pub(super) struct Call<'a> {
    pub(super) node: &'a Node,
    /// Version of its domain's operators.
    pub(super) opset: i64,
    /// `None` for an optional input that is left out.
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) external: &'a std::cell::RefCell<super::constant::External>,
}

impl Call<'_> {
    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.int(name, 0) != 0
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|attribute| attribute.ints.clone())
    }

    pub(super) fn floats(&self, name: &str) -> Option<Vec<f32>> {
        self.attribute(name).map(|attribute| attribute.floats.clone())
    }

    pub(super) fn text(&self, name: &str, default: &str) -> String {
        let text = self.attribute(name).and_then(|attribute| attribute.s.as_ref());
        text.map_or_else(|| default.to_owned(), |text| String::from_utf8_lossy(text).into_owned())
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.attribute(name).map(|attribute| attribute.strings.as_slice()).unwrap_or_default();
        texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<Constant> {
        let tensor = self.attribute(name)?.t.as_ref()?;
        Some(decode(tensor, &mut self.external.borrow_mut()))
    }

    /// An input that may be left out.
    pub(super) fn input(&self, place: usize) -> Option<&Value> {
        self.inputs.get(place)?.as_ref()
    }

    /// The constant in that place, if there is one.
    pub(super) fn constant(&self, place: usize) -> Option<&Constant> {
        match self.input(place)? {
            Value::Constant(constant) => Some(constant),
            Value::Wire(_) => None,
        }
    }

    /// The wire in that place.
    pub(super) fn wire(&self, place: usize) -> Result<Wire, String> {
        match self.input(place) {
            Some(Value::Wire(wire)) => Ok(wire.clone()),
            Some(Value::Constant(Constant { data: Data::Unreadable(reason), .. })) => Err(reason.clone()),
            Some(Value::Constant(_)) => Err(format!("input {place} is a constant")),
            None => Err(format!("input {place} is missing")),
        }
    }

    /// A constant that the operator must have.
    pub(super) fn weights(&self, place: usize) -> Result<&Constant, String> {
        match self.input(place) {
            Some(Value::Constant(Constant { data: Data::Unreadable(reason), .. })) => Err(reason.clone()),
            Some(Value::Constant(constant)) => Ok(constant),
            Some(Value::Wire(_)) => Err(format!("input {place} is computed, only constants are read there")),
            None => Err(format!("input {place} is missing")),
        }
    }

    /// Integers that are an input or, in older versions, an attribute.
    pub(super) fn setting(&self, place: usize, name: &str) -> Result<Option<Vec<i64>>, String> {
        let Some(sizes) = self.sizes(place, name)? else { return Ok(None) };
        sizes.into_iter().map(Whole::known).collect::<Option<Vec<i64>>>().map(Some).ok_or_else(unknown_size)
    }

    /// The same, where a number of examples may be among them.
    pub(super) fn sizes(&self, place: usize, name: &str) -> Result<Option<Vec<Whole>>, String> {
        match self.input(place) {
            Some(Value::Constant(constant)) if constant.len() > MOST_SETTINGS => {
                Err(format!("its {name} are {} numbers", constant.len()))
            }
            Some(Value::Constant(constant)) => constant.integer_array().map(|array| Some(array.values)),
            Some(Value::Wire(_)) => Err(format!("its {name} are computed from the image")),
            None => Ok(self.ints(name).map(|ints| ints.into_iter().map(Whole::Known).collect())),
        }
    }

    /// Whether its operator is one of ONNX's own.
    pub(super) fn is_standard(&self) -> bool {
        is_standard(&self.node.domain)
    }

    /// The wires among the inputs and their places.
    pub(super) fn wires(&self) -> impl Iterator<Item = (usize, &Wire)> {
        self.inputs.iter().enumerate().filter_map(|(place, value)| match value {
            Some(Value::Wire(wire)) => Some((place, wire)),
            _ => None,
        })
    }

    /// Refuses what is there in that place.
    pub(super) fn without(&self, place: usize, what: &str) -> Result<(), String> {
        self.input(place).map_or(Ok(()), |_| Err(format!("{what} is not read")))
    }
}

/// The axis that a possibly negative number means.
pub(super) fn axis(number: i64, rank: usize) -> Result<usize, String> {
    let rank_signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let axis = if number < 0 { number.saturating_add(rank_signed) } else { number };
    let inside = (0..rank_signed).contains(&axis);
    let axis = usize::try_from(axis).ok().filter(|_| inside);
    axis.ok_or_else(|| format!("axis {number} of {rank} axes"))
}
