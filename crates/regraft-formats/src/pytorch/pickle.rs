//! Python pickles as values: as much of the stack machine as checkpoints need, and nothing that would call anything.
//!
//! Values live in one list and name each other by position, so that neither a cycle nor a pickle that refers to one
//! value a million times costs more than its own length. Text is borrowed from the pickle.

use std::collections::HashMap;

use super::StoredType;

/// Position of a value in [`Machine::values`].
pub(super) type Id = usize;

pub(super) enum Value<'a> {
    /// Something that no tensor's place depends on.
    Other,
    Int(i64),
    Text(&'a str),
    /// A tuple, a list or a set.
    Items(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by its full name.
    Global(String),
    Storage {
        key: &'a str,
        dtype: StoredType,
    },
    Tensor {
        key: &'a str,
        dtype: StoredType,
        offset: Id,
        shape: Vec<Id>,
        strides: Vec<Id>,
    },
    /// An instance of a class, with its attributes once they are known.
    Object(Option<Id>),
}

/// A stack machine for the opcodes that `torch.save` writes (protocol 2) and their shorter forms up to protocol 5.
pub(super) struct Machine<'a> {
    pickle: &'a [u8],
    pub(super) position: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Element type and number of elements of each storage.
    pub(super) storages: HashMap<&'a str, (StoredType, usize)>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(pickle: &'a [u8]) -> Self {
        Self {
            pickle,
            position: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            storages: HashMap::new(),
        }
    }

    /// Runs to the end of the pickle; `None` where something in it is unknown.
    pub(super) fn run(&mut self) -> Option<Id> {
        loop {
            let opcode = *self.take(1)?.first()?;
            if opcode == b'.' {
                return self.stack.pop();
            }
            self.step(opcode)?;
        }
    }

    /// Length of the pickle.
    pub(super) fn length(mut self) -> Option<usize> {
        self.run().map(|_| self.position)
    }

    fn step(&mut self, opcode: u8) -> Option<()> {
        match opcode {
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Some(())
            }
            b'N' | 0x88 | 0x89 => self.push(Value::Other),
            b'G' => self.take(8).and_then(|_| self.push(Value::Other)),
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.integer(opcode),
            b'X' | b'T' | b'U' | 0x8c | 0x8d => self.string(opcode),
            b'B' | b'C' | 0x8e => {
                let length = self.size(match opcode {
                    b'B' => 4,
                    b'C' => 1,
                    _ => 8,
                })?;
                self.take(length).and_then(|_| self.push(Value::Other))
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b']' | b')' | 0x8f => self.push(Value::Items(Vec::new())),
            b't' | b'l' | 0x91 => self.since_mark().and_then(|items| self.push(Value::Items(items))),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84)),
            b'a' | b'e' | b's' | b'u' | b'd' | 0x90 => self.fill(opcode),
            b'q' | b'r' | 0x94 => self.remember(opcode),
            b'h' | b'j' => {
                let key = self.size(if opcode == b'h' { 1 } else { 4 })?;
                let value = *self.memo.get(&u32::try_from(key).ok()?)?;
                self.stack.push(value);
                Some(())
            }
            b'0' => self.stack.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let top = *self.stack.last()?;
                self.stack.push(top);
                Some(())
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(format!("{module}.{name}")))
            }
            0x93 => {
                let [module, name] = [self.stack.len().checked_sub(2)?, self.stack.len() - 1];
                let name = format!(
                    "{}.{}",
                    self.text(*self.stack.get(module)?)?,
                    self.text(*self.stack.get(name)?)?
                );
                self.stack.truncate(module);
                self.push(Value::Global(name))
            }
            b'Q' => self.persistent(),
            b'R' => self.reduce(),
            0x81 => {
                self.stack.truncate(self.stack.len().checked_sub(2)?);
                self.push(Value::Object(None))
            }
            b'b' => self.build(),
            _ => None,
        }
    }

    fn push(&mut self, value: Value<'a>) -> Option<()> {
        self.stack.push(self.values.len());
        self.values.push(value);
        Some(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(count)?;
        let bytes = self.pickle.get(self.position..end)?;
        self.position = end;
        Some(bytes)
    }

    fn line(&mut self) -> Option<&'a str> {
        let rest = self.pickle.get(self.position..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let line = self.take(length)?;
        self.take(1)?;
        str::from_utf8(line).ok()
    }

    /// A little-endian number of that many bytes.
    fn size(&mut self, bytes: usize) -> Option<usize> {
        let number = self.take(bytes)?;
        let number = number.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).ok()
    }

    fn integer(&mut self, opcode: u8) -> Option<()> {
        let bytes = match opcode {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            0x8a => self.size(1)?,
            _ => self.size(4)?,
        };
        let digits = self.take(bytes)?;
        // Long integers are two's complement; what does not fit 64 bits is a magic number.
        let negative = opcode != b'K' && opcode != b'M' && digits.last().is_some_and(|byte| *byte > 0x7f);
        let start = if negative { -1 } else { 0 };
        let number = digits.iter().rev().fold(start, |number: i64, byte| number << 8 | i64::from(*byte));
        self.push(if bytes <= 8 { Value::Int(number) } else { Value::Other })
    }

    fn string(&mut self, opcode: u8) -> Option<()> {
        let length = self.size(match opcode {
            b'U' | 0x8c => 1,
            b'X' | b'T' => 4,
            _ => 8,
        })?;
        let text = str::from_utf8(self.take(length)?);
        self.push(text.map_or(Value::Other, Value::Text))
    }

    fn since_mark(&mut self) -> Option<Vec<Id>> {
        let mark = self.marks.pop()?;
        (mark <= self.stack.len()).then(|| self.stack.split_off(mark))
    }

    fn tuple(&mut self, length: usize) -> Option<()> {
        let start = self.stack.len().checked_sub(length)?;
        let items = self.stack.split_off(start);
        self.push(Value::Items(items))
    }

    /// Adds items to the list, set or dictionary below them.
    fn fill(&mut self, opcode: u8) -> Option<()> {
        let items = match opcode {
            b'a' => self.stack.split_off(self.stack.len().checked_sub(1)?),
            b's' => self.stack.split_off(self.stack.len().checked_sub(2)?),
            _ => self.since_mark()?,
        };
        if opcode == b'd' {
            self.push(Value::Dict(Vec::new()))?;
        }
        let (pairs, _) = items.as_chunks::<2>();
        match self.values.get_mut(*self.stack.last()?)? {
            Value::Items(list) => list.extend(items),
            Value::Dict(entries) => entries.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => {}
        }
        Some(())
    }

    fn remember(&mut self, opcode: u8) -> Option<()> {
        let key = match opcode {
            b'q' => self.size(1)?,
            b'r' => self.size(4)?,
            _ => self.memo.len(),
        };
        self.memo.insert(u32::try_from(key).ok()?, *self.stack.last()?);
        Some(())
    }

    /// `('storage', class, key, device, number of elements)`, in old files with a view of the storage, which is not
    /// known here, or none; and `('module', class, file, source)` for the class of a module that was saved whole.
    fn persistent(&mut self) -> Option<()> {
        let id = self.stack.pop()?;
        let (class, key, count) = match self.items(id)? {
            [tag, class, _, _] if self.text(*tag) == Some("module") => {
                self.stack.push(*class);
                return Some(());
            }
            [_, class, key, _, count] => (*class, *key, *count),
            [_, class, key, _, count, view] if matches!(self.values.get(*view)?, Value::Other) => {
                (*class, *key, *count)
            }
            _ => return None,
        };
        let Value::Global(class) = self.values.get(class)? else { return None };
        let dtype = element_type(class)?;
        let (key, count) = (self.text(key)?, self.number(count)?);
        self.storages.insert(key, (dtype, count));
        self.push(Value::Storage { key, dtype })
    }

    fn reduce(&mut self) -> Option<()> {
        let [arguments, callable] = [self.stack.pop()?, self.stack.pop()?];
        let Value::Global(name) = self.values.get(callable)? else { return self.push(Value::Object(None)) };
        match name.as_str() {
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => {
                let tensor = self.tensor(arguments)?;
                self.push(tensor)
            }
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "builtins.set"
            | "__builtin__.set" => {
                let first = *self.items(arguments)?.first()?;
                self.stack.push(first);
                Some(())
            }
            "collections.OrderedDict" => self.push(Value::Dict(Vec::new())),
            // Some other form of tensor.
            name if name.contains("._rebuild") => None,
            _ => self.push(Value::Object(None)),
        }
    }

    fn tensor(&self, arguments: Id) -> Option<Value<'a>> {
        let [storage, offset, shape, strides, ..] = self.items(arguments)? else { return None };
        let Value::Storage { key, dtype } = self.values.get(*storage)? else { return None };
        let (shape, strides) = (self.items(*shape)?.to_vec(), self.items(*strides)?.to_vec());
        Some(Value::Tensor { key, dtype: *dtype, offset: *offset, shape, strides })
    }

    /// Attributes of an object. Those of a dictionary, such as its `_metadata`, are nobody's business.
    fn build(&mut self) -> Option<()> {
        let state = self.stack.pop()?;
        if let Value::Object(attributes) = self.values.get_mut(*self.stack.last()?)? {
            *attributes = Some(state);
        }
        Some(())
    }

    pub(super) fn value(&self, id: Id) -> Option<&Value<'a>> {
        self.values.get(id)
    }

    /// A dictionary's key as a part of a name.
    pub(super) fn key(&self, id: Id) -> Option<String> {
        match self.values.get(id)? {
            Value::Text(text) => Some((*text).to_owned()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        if let Value::Items(items) = self.values.get(id)? { Some(items) } else { None }
    }

    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        if let Value::Text(text) = self.values.get(id)? { Some(text) } else { None }
    }

    pub(super) fn number(&self, id: Id) -> Option<usize> {
        if let Value::Int(number) = self.values.get(id)? { usize::try_from(*number).ok() } else { None }
    }
}

fn element_type(class: &str) -> Option<StoredType> {
    match class.strip_prefix("torch.")? {
        "DoubleStorage" => Some(StoredType::F64),
        "FloatStorage" => Some(StoredType::F32),
        "HalfStorage" => Some(StoredType::F16),
        "BFloat16Storage" => Some(StoredType::BF16),
        "LongStorage" => Some(StoredType::I64),
        "IntStorage" => Some(StoredType::I32),
        "ShortStorage" => Some(StoredType::I16),
        "CharStorage" => Some(StoredType::I8),
        "ByteStorage" => Some(StoredType::U8),
        "BoolStorage" => Some(StoredType::Bool),
        _ => None,
    }
}
