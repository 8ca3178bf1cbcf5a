//! Architectures as graph builders, the catalogue, and the embedded default.
