//! Where the tensors of a checkpoint lie in its file, so that they can stay there.
//!
//! The format's crate reads a tensor by copying it and does not tell where it was. This module interprets the pickle so
//! far that it knows of every tensor in which storage it lies, at which offset. It never fails and never guesses: where
//! it meets anything that it does not know (an old protocol, a tensor with gaps, a compressed member) it gives nothing,
//! and the crate, which knows the errors too, reads the file.
//!
//! The walk over the values is bounded in depth and in steps, because a pickle may nest without end.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use super::StoredType;
use super::pickle::{Id, Machine, Value};
use crate::archive::Archive;

/// A tensor whose elements lie row-major and without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Type of its elements.
    pub(super) dtype: StoredType,
    /// Sizes of its axes.
    pub(super) shape: Vec<usize>,
    /// Where they lie in the file.
    pub(super) bytes: Range<usize>,
    /// The storage that they are a part of, and its checksum if it has one.
    pub(super) storage: (Range<usize>, Option<u32>),
}

/// Every tensor by its path through the checkpoint's dictionaries, or nothing.
pub(super) fn places(content: &Bytes) -> Option<HashMap<String, Place>> {
    if content.starts_with(b"PK") { in_zip(content) } else { in_stream(content) }
}

fn in_zip(content: &Bytes) -> Option<HashMap<String, Place>> {
    let mut archive = Archive::open(content.clone()).ok()?;
    let roots = archive.names();
    let roots = roots.iter().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(|root| root.len())?;
    let pickle = content.get(archive.stored(&format!("{root}data.pkl"))?.range)?;
    let mut machine = Machine::new(pickle);
    let value = machine.run()?;
    let mut known = HashMap::new();
    Walk::over(&machine, value, |tensor| {
        let storage = known.entry(tensor.key.to_owned()).or_insert_with(|| {
            archive.stored(&format!("{root}data/{}", tensor.key)).map(|stored| (stored.range, stored.crc32))
        });
        tensor.within(storage.clone()?)
    })
}

/// The container before PyTorch 1.6: five pickles (a magic number, a version, the system, the object, the storages'
/// keys), then the storages in the order of their keys, each after the number of its elements.
fn in_stream(content: &[u8]) -> Option<HashMap<String, Place>> {
    let mut position = 0;
    for _ in 0..3 {
        position += Machine::new(content.get(position..)?).length()?;
    }
    let mut machine = Machine::new(content.get(position..)?);
    let object = machine.run()?;
    position += machine.position;
    let mut keys = Machine::new(content.get(position..)?);
    let list = keys.run()?;
    position += keys.position;
    let mut storages = HashMap::new();
    for key in keys.items(list)? {
        let key = keys.text(*key)?;
        let (dtype, count) = machine.storages.get(key).copied()?;
        let start = position.checked_add(8)?;
        let end = start.checked_add(count.checked_mul(dtype.size())?)?;
        let stated = content.get(position..start)?.first_chunk().map(|bytes| i64::from_le_bytes(*bytes))?;
        (end <= content.len() && usize::try_from(stated) == Ok(count)).then_some(())?;
        storages.insert(key, start..end);
        position = end;
    }
    Walk::over(&machine, object, |tensor| tensor.within((storages.get(tensor.key)?.clone(), None)))
}

/// More than any checkpoint has values, and little enough to walk over in a moment.
const MAX_STEPS: usize = 1 << 20;

/// More than any checkpoint nests.
const MAX_DEPTH: usize = 100;

/// A walk over all values below one, with the path to where it is.
struct Walk<'m, 'a, Locate> {
    machine: &'m Machine<'a>,
    locate: Locate,
    path: Vec<String>,
    steps: usize,
    found: HashMap<String, Place>,
}

impl<'m, 'a, Locate: FnMut(&Located<'a>) -> Option<Place>> Walk<'m, 'a, Locate> {
    /// The tensors below a value that `locate` can place.
    fn over(machine: &'m Machine<'a>, root: Id, locate: Locate) -> Option<HashMap<String, Place>> {
        let mut walk = Self { machine, locate, path: Vec::new(), steps: 0, found: HashMap::new() };
        walk.visit(root)?;
        Some(walk.found)
    }

    /// `None` where there is no end to it.
    fn visit(&mut self, id: Id) -> Option<()> {
        self.steps += 1;
        (self.steps <= MAX_STEPS && self.path.len() <= MAX_DEPTH).then_some(())?;
        match self.machine.value(id)? {
            Value::Dict(entries) => {
                entries.iter().try_for_each(|(key, value)| self.descend(self.machine.key(*key), *value))
            }
            Value::Items(items) => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(index, value)| self.descend(Some(index.to_string()), *value))
            }
            Value::Object(Some(state)) => self.visit_module(*state),
            Value::Tensor { key, dtype, offset, shape, strides } => {
                let sizes =
                    |ids: &[Id]| ids.iter().map(|id| self.machine.number(*id)).collect::<Option<Vec<_>>>();
                let (shape, strides) = (sizes(shape)?, sizes(strides)?);
                let offset = self.machine.number(*offset)?;
                let place = (self.locate)(&Located { key, dtype: *dtype, offset, shape, strides })?;
                self.found.insert(self.path.join("."), place);
                Some(())
            }
            _ => Some(()),
        }
    }

    /// What has no name that can be written is passed over.
    fn descend(&mut self, key: Option<String>, value: Id) -> Option<()> {
        let Some(key) = key else { return Some(()) };
        self.path.push(key);
        let visited = self.visit(value);
        self.path.pop();
        visited
    }

    /// A module that was saved whole names its tensors as its `state_dict()` would.
    fn visit_module(&mut self, state: Id) -> Option<()> {
        let Value::Dict(attributes) = self.machine.value(state)? else { return Some(()) };
        let attribute = |wanted: &str| {
            attributes
                .iter()
                .find(|(name, _)| self.machine.text(*name) == Some(wanted))
                .map(|(_, value)| *value)
        };
        let passing = attribute("_non_persistent_buffers_set").and_then(|names| self.machine.items(names));
        let passing: Vec<_> =
            passing.unwrap_or_default().iter().map(|name| self.machine.text(*name)).collect();
        let parts: Vec<Id> =
            ["_parameters", "_buffers", "_modules"].into_iter().filter_map(attribute).collect();
        for part in parts {
            let Value::Dict(entries) = self.machine.value(part)? else { continue };
            for (name, value) in
                entries.iter().filter(|(name, _)| !passing.contains(&self.machine.text(*name)))
            {
                self.descend(self.machine.key(*name), *value)?;
            }
        }
        Some(())
    }
}

/// A tensor in its storage.
struct Located<'a> {
    key: &'a str,
    dtype: StoredType,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Located<'_> {
    /// `None` for a tensor with gaps, in another order, or beyond its storage.
    fn within(&self, storage: (Range<usize>, Option<u32>)) -> Option<Place> {
        let mut step = 1usize;
        for (size, stride) in self.shape.iter().zip(&self.strides).rev() {
            (*size == 1 || *stride == step).then_some(())?;
            step = step.checked_mul(*size)?;
        }
        let element = self.dtype.size();
        let start = storage.0.start.checked_add(self.offset.checked_mul(element)?)?;
        let end = start.checked_add(step.checked_mul(element)?)?;
        let fits = end <= storage.0.end && self.shape.len() == self.strides.len();
        fits.then_some(Place { dtype: self.dtype, shape: self.shape.clone(), bytes: start..end, storage })
    }
}
