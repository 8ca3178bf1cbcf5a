//! Transfer learning: the library behind the regraft command.
