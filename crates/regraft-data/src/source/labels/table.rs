//! A table as text: CSV as in RFC 4180, also with tabs or semicolons between the fields.

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord, Trim};

/// What may stand between two fields; of those that the header has equally often, the first.
const DELIMITERS: [u8; 3] = *b"\t,;";

/// A header and rows that have a field for each name in it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// A row, with the line that it begins in; the header's is 1.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) line: u64,
    fields: StringRecord,
}

/// Why a line is none of a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: u64,
    pub(super) reason: String,
}

impl Row {
    /// The field of a column, without white space around it.
    pub(super) fn field(&self, column: usize) -> &str {
        self.fields.get(column).unwrap_or_default()
    }
}

impl Table {
    /// Reads a text; a byte order mark is no part of it.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter(text)).trim(Trim::All).from_reader(text.as_bytes());
        let malformed = |error| malformed(text, error);
        let header = reader.headers().map_err(malformed)?.iter().map(str::to_owned).collect();
        let row = |fields: StringRecord| Row { line: line(text, fields.position()), fields };
        let rows = reader.records().map(|fields| fields.map(row).map_err(malformed));
        Ok(Self { header, rows: rows.collect::<Result<_, _>>()? })
    }
}

fn delimiter(text: &str) -> u8 {
    let header = text.trim_start().lines().next().unwrap_or_default();
    let times = |delimiter: &u8| header.bytes().filter(|byte| byte == delimiter).count();
    DELIMITERS.into_iter().rev().max_by_key(times).unwrap_or(b',')
}

/// The reader's position is in front of empty lines, which it passes over.
fn line(text: &str, position: Option<&Position>) -> u64 {
    let Some(position) = position else { return 1 };
    let start = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let behind = text.as_bytes().get(start..).unwrap_or_default();
    let empty = behind.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

fn malformed(text: &str, error: csv::Error) -> Malformed {
    let line = line(text, error.position());
    let reason = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => format!(
            "has {len} fields and the header {expected_len}; a field that holds the character between the fields, or a line \
             break, needs quotes around it"
        ),
        _ => error.to_string(),
    };
    Malformed { line, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(u64, Vec<String>)> {
        let fields = |row: Row| (row.line, row.fields.iter().map(str::to_owned).collect());
        Table::parse(text).unwrap().rows.into_iter().map(fields).collect()
    }

    fn row(line: u64, fields: [&str; 2]) -> (u64, Vec<String>) {
        (line, fields.map(str::to_owned).to_vec())
    }

    #[test]
    fn the_same_table_as_any_system_writes_it() {
        let expected = [row(2, ["a.png", "cat"]), row(3, ["b.png", "dog"])];
        for text in [
            "file,label\na.png,cat\nb.png,dog\n",
            "\u{feff}file,label\r\na.png,cat\r\nb.png,dog",
            "file\tlabel\na.png\tcat\nb.png\tdog\n",
            "file;label\n a.png ;cat\n\"b.png\";\"dog\"\n",
        ] {
            assert_eq!(rows(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotes_hold_delimiters_and_line_breaks_and_lines_are_counted_all_the_same() {
        let text = "file,\"la\"\"bel\"\n\"a, b.png\",\"x\ny\"\n\n\r\nc.png,z\n";
        assert_eq!(Table::parse(text).unwrap().header, ["file", "la\"bel"]);
        assert_eq!(rows(text), [row(2, ["a, b.png", "x\ny"]), row(6, ["c.png", "z"])]);
        assert_eq!(rows("file\tname, class\na\tb, c\n"), [row(2, ["a", "b, c"])], "tabs go before commas");
    }

    #[test]
    fn a_line_with_other_fields_is_named() {
        for (text, line, fields) in [("a,b\nc,d\n\ne\n", 4, "1 fields"), ("a,b\n1,2,3\n", 2, "3 fields")] {
            let error = Table::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.reason.contains(fields), "{error:?}");
        }
        assert!(rows("").is_empty() && rows("a,b").is_empty());
    }
}
