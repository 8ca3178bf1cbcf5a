//! An architecture: a graph builder by name, with the preprocessing that its published weights expect.

use regraft_graph::{Card, GraphError, Preprocessing, Roles, Weights};

use crate::builder::Network;
use crate::table::ARCHITECTURES;

/// A family of networks that differ in nothing but their weights and their number of classes.
#[derive(Debug)]
pub struct Architecture {
    /// Name in the catalogue and on the command line.
    pub name: &'static str,
    /// Names of the same network in another library, or in another form of publication. A file decides by its tensors'
    /// names which of the architectures that a name stands for it is.
    pub aliases: &'static [&'static str],
    /// A tensor that every file of this architecture has, and few of others: it saves building graphs that cannot fit.
    pub mark: &'static str,
    /// Layer that gives the logits, or scores of places; the shape of its weight tells the number of classes.
    pub classifier: &'static str,
    /// What the published weights expect. A model's own card goes before it.
    pub preprocessing: Preprocessing,
    pub(crate) build: fn(usize, [usize; 2]) -> Result<Network, GraphError>,
}

impl Architecture {
    /// The graph for a number of classes, and the roles of its wires, for images of the usual size where the size
    /// matters. Without classes, the network ends at its features.
    ///
    /// # Errors
    /// None for a possible number of classes.
    pub fn network(&self, classes: usize) -> Result<Network, GraphError> {
        self.network_for(classes, self.preprocessing.crop)
    }

    /// The same for images of this height and width. Only vision transformers, which have a learned vector for each
    /// place, and CaffeNet depend on it.
    ///
    /// # Errors
    /// None for a possible number of classes and an image of at least one patch.
    pub fn network_for(&self, classes: usize, image: [usize; 2]) -> Result<Network, GraphError> {
        (self.build)(classes, image)
    }

    /// Rows of the classifier's weight; 0 where there is none.
    pub fn classes(&self, weights: &Weights) -> usize {
        let weight = weights.get(&format!("{}.weight", self.classifier));
        weight.and_then(|weight| weight.shape().first().copied()).unwrap_or(0)
    }

    /// A card with this architecture's preprocessing, for weights of which only their origin is known. Its roles
    /// are filled in by [`crate::load_weights`].
    pub fn card(&self, origin: impl Into<String>) -> Card {
        Card {
            name: self.name.to_owned(),
            origin: origin.into(),
            sha256: None,
            licence: None,
            preprocessing: self.preprocessing.clone(),
            labels: Vec::new(),
            source_task: None,
            source_accuracy: None,
            aliases: Default::default(),
            roles: Roles { features: String::new(), logits: None, cuts: Vec::new() },
        }
    }
}

/// All architectures, families together.
pub fn architectures() -> &'static [Architecture] {
    &ARCHITECTURES
}

/// The architecture of that name or alias.
pub fn architecture(name: &str) -> Option<&'static Architecture> {
    called(name).next()
}

/// The architectures that a name stands for, that of exactly this name first.
pub(crate) fn called(name: &str) -> impl Iterator<Item = &'static Architecture> {
    let exact = ARCHITECTURES.iter().filter(move |architecture| architecture.name == name);
    let other = ARCHITECTURES.iter().filter(move |architecture| architecture.aliases.contains(&name));
    exact.chain(other)
}
