//! The vote of the nearest stored examples, as a function that the file defines by standard operators.

use regraft_graph::{NearestNeighbors, Node, ParameterKind};

use super::super::reader::DOMAIN;
use super::super::schema::{self, Attribute};
use super::export::{Export, float, int, signed};

const NAME: &str = "NearestNeighbors";

impl Export<'_> {
    pub(super) fn nearest_neighbors(&mut self, node: &Node, vote: &NearestNeighbors) -> Result<(), String> {
        let (input, _) = self.first(node)?;
        let examples = self.parameter(node, ParameterKind::Weight, &[vote.examples, vote.features])?;
        let labels = self.parameter(node, ParameterKind::Labels, &[vote.examples])?;
        let opset = i64::from(self.opset());
        self.function(body(opset));
        let vote = schema::Node {
            input: vec![input, examples, labels],
            output: vec![node.name.clone()],
            name: node.name.clone(),
            op_type: NAME.to_owned(),
            attribute: vec![
                int("classes", signed(vote.classes)),
                int("neighbors", signed(vote.neighbors)),
                float("similarity_temperature", vote.similarity_temperature),
                float("smoothing", vote.smoothing),
                float("sharpness", vote.sharpness),
            ],
            domain: DOMAIN.to_owned(),
        };
        self.foreign(vote, 1)
    }
}

/// `operator(inputs) → output`, with attributes.
fn node(output: &str, operator: &str, inputs: &[&str], attribute: Vec<Attribute>) -> schema::Node {
    schema::Node {
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        output: output.split(',').map(str::to_owned).collect(),
        name: output.to_owned(),
        op_type: operator.to_owned(),
        attribute,
        domain: String::new(),
    }
}

/// A constant that is an attribute of the call.
fn of_call(name: &str, attribute: &str, kind: i32) -> schema::Node {
    let reference =
        Attribute { name: attribute.to_owned(), reference: name.to_owned(), kind, ..Attribute::default() };
    node(name, "Constant", &[], vec![reference])
}

fn ints(name: &str, values: &[i64]) -> schema::Node {
    let attribute =
        Attribute { name: "value_ints".to_owned(), ints: values.to_vec(), kind: 7, ..Attribute::default() };
    node(name, "Constant", &[], vec![attribute])
}

fn floats(name: &str, values: &[f32]) -> schema::Node {
    let attribute = Attribute {
        name: "value_floats".to_owned(),
        floats: values.to_vec(),
        kind: 6,
        ..Attribute::default()
    };
    node(name, "Constant", &[], vec![attribute])
}

/// `log(smoothing + Σ_{label = c} exp((s − s_max) / similarity_temperature)) · sharpness`, see the operator.
fn body(opset: i64) -> schema::Function {
    let to = |element: i32| vec![int("to", element.into())];
    let nodes = vec![
        of_call("classes", "value_int", 2),
        of_call("neighbors", "value_int", 2),
        of_call("similarity_temperature", "value_float", 1),
        of_call("smoothing", "value_float", 1),
        of_call("sharpness", "value_float", 1),
        ints("one", &[1]),
        ints("two", &[2]),
        ints("zero", &[0]),
        floats("off_on", &[0.0, 1.0]),
        floats("tiny", &[f32::MIN_POSITIVE]),
        node("squares", "Mul", &["features", "features"], Vec::new()),
        node("square", "ReduceSum", &["squares", "one"], Vec::new()),
        node("some_square", "Max", &["square", "tiny"], Vec::new()),
        node("length", "Sqrt", &["some_square"], Vec::new()),
        node("turned", "Transpose", &["examples"], Vec::new()),
        node("products", "MatMul", &["features", "turned"], Vec::new()),
        node("similarities", "Div", &["products", "length"], Vec::new()),
        node("counts", "Reshape", &["neighbors", "one"], Vec::new()),
        node("nearest,places", "TopK", &["similarities", "counts"], vec![int("axis", 1)]),
        node("best", "Slice", &["nearest", "zero", "one", "one"], Vec::new()),
        node("below", "Sub", &["nearest", "best"], Vec::new()),
        node("cooled", "Div", &["below", "similarity_temperature"], Vec::new()),
        node("weights", "Exp", &["cooled"], Vec::new()),
        node("whole_labels", "Cast", &["labels"], to(schema::element::INT64)),
        node("voters", "Gather", &["whole_labels", "places"], Vec::new()),
        node("ballots", "OneHot", &["voters", "classes", "off_on"], Vec::new()),
        node("weight_columns", "Unsqueeze", &["weights", "two"], Vec::new()),
        node("weighted", "Mul", &["ballots", "weight_columns"], Vec::new()),
        node("votes", "ReduceSum", &["weighted", "one"], vec![int("keepdims", 0)]),
        node("smoothed", "Add", &["votes", "smoothing"], Vec::new()),
        node("logarithms", "Log", &["smoothed"], Vec::new()),
        node("scores", "Mul", &["logarithms", "sharpness"], Vec::new()),
    ];
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    schema::Function {
        name: NAME.to_owned(),
        input: names(&["features", "examples", "labels"]),
        output: names(&["scores"]),
        attribute: names(&["classes", "neighbors", "similarity_temperature", "smoothing", "sharpness"]),
        node: nodes,
        opset_import: vec![schema::OperatorSet { domain: String::new(), version: opset }],
        domain: DOMAIN.to_owned(),
    }
}
