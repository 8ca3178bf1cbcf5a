//! The arrows between the crates: which crate may name which.
//!
//! An arrow that is not in this table fails the test below. To add one, draw it here and say in `docs/design/` why.

mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use cargo_metadata::{DependencyKind, MetadataCommand};

    /// From the bottom to the top; a crate names only crates above its line, and only those listed.
    const ALLOWED: [(&str, &[&str]); 13] = [
        ("regraft-system", &[]),
        ("regraft-graph", &[]),
        ("regraft-hub", &["regraft-system"]),
        ("regraft-formats", &["regraft-graph", "regraft-system"]),
        ("regraft-engine", &["regraft-graph"]),
        ("regraft-zoo", &["regraft-formats", "regraft-graph", "regraft-system"]),
        ("regraft-data", &["regraft-formats", "regraft-graph", "regraft-system"]),
        ("regraft-eval", &["regraft-system"]),
        ("regraft-adapt", &["regraft-eval", "regraft-system"]),
        ("regraft-report", &[]),
        (
            "regraft",
            &[
                "regraft-adapt",
                "regraft-data",
                "regraft-engine",
                "regraft-eval",
                "regraft-formats",
                "regraft-graph",
                "regraft-hub",
                "regraft-report",
                "regraft-system",
                "regraft-zoo",
            ],
        ),
        ("regraft-cli", &["regraft"]),
        ("xtask", &["regraft-formats", "regraft-graph", "regraft-hub", "regraft-system", "regraft-zoo"]),
    ];

    /// Workspace dependencies of every crate, tests included only if `tests`.
    fn arrows(tests: bool) -> BTreeMap<String, BTreeSet<String>> {
        let metadata = MetadataCommand::new().no_deps().exec().unwrap();
        let names: BTreeSet<String> =
            metadata.packages.iter().map(|package| package.name.to_string()).collect();
        let arrows = metadata.packages.iter().map(|package| {
            let counted = |kind| tests || kind != DependencyKind::Development;
            let named = package.dependencies.iter().filter(|dependency| counted(dependency.kind));
            let inside = named.map(|dependency| dependency.name.clone()).filter(|name| names.contains(name));
            (package.name.to_string(), inside.collect())
        });
        arrows.collect()
    }

    #[test]
    fn no_arrow_is_missing_from_the_table() {
        let allowed = BTreeMap::from(ALLOWED);
        for (from, targets) in arrows(false) {
            let Some(allowed) = allowed.get(from.as_str()) else {
                panic!("the crate {from} is not in the table of arrows");
            };
            for to in targets {
                assert!(allowed.contains(&to.as_str()), "new arrow {from} → {to}");
            }
        }
    }

    #[test]
    fn the_table_points_down_only() {
        for (rank, (from, targets)) in ALLOWED.iter().enumerate() {
            for to in *targets {
                assert!(ALLOWED[..rank].iter().any(|(below, _)| below == to), "{from} → {to} points up");
            }
        }
    }

    #[test]
    fn tests_may_look_across_but_not_up() {
        let top = ["regraft", "regraft-cli", "xtask"];
        for (from, targets) in arrows(true) {
            let upward =
                targets.iter().find(|to| top.contains(&to.as_str()) && !top.contains(&from.as_str()));
            assert_eq!(upward, None, "{from} looks up");
        }
    }
}
