//! Metrics, intervals, paired tests and calibration: pure functions on arrays.
