//! Constants as the tensors of nodes. Copies count: a file may use one tensor a thousand times.

use regraft_graph::{ParameterKind, Tensor};

use super::constant::{Constant, Data, transposed};
use super::net::Net;

/// A tensor of a node, and the initialiser that it is, if it is one as it stands.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) tensor: Tensor,
    pub(super) name: Option<String>,
}

pub(super) type Parameters = Vec<(ParameterKind, Parameter)>;

impl Parameter {
    pub(super) fn new(shape: Vec<usize>, values: &[f32]) -> Result<Self, String> {
        let tensor = Tensor::from_f32(shape, values).map_err(|error| error.to_string())?;
        Ok(Self { tensor, name: None })
    }
}

impl Net {
    /// The constant's numbers in that shape.
    pub(super) fn parameter(&mut self, constant: &Constant, shape: Vec<usize>) -> Result<Parameter, String> {
        if !matches!(constant.data, Data::Floats(_)) {
            self.budget.spend(&constant.shape)?;
        }
        let turned = matches!(constant.data, Data::Transposed(_));
        let constant = constant.reshaped(shape)?;
        Ok(Parameter { tensor: constant.tensor()?, name: constant.name.filter(|_| !turned) })
    }

    /// A function of each of the constant's numbers, in that shape.
    pub(super) fn mapped(
        &mut self,
        constant: &Constant,
        shape: Vec<usize>,
        function: impl Fn(f32) -> f32,
    ) -> Result<Parameter, String> {
        self.budget.spend(&constant.shape)?;
        let values: Vec<f32> = constant.float_array()?.values.into_iter().map(function).collect();
        Parameter::new(shape, &values)
    }

    /// The transpose of a matrix of constants: that of the file where it is one already.
    pub(super) fn turned(&mut self, matrix: &Constant) -> Result<Parameter, String> {
        let [rows, columns] = matrix.shape[..] else { return Err("its weight is no matrix".to_owned()) };
        if let Data::Transposed(tensor) = &matrix.data {
            return Ok(Parameter { tensor: tensor.clone(), name: matrix.name.clone() });
        }
        let tensor = matrix.tensor()?;
        let place = (tensor.data().as_ptr().addr(), rows, columns);
        let in_file = matches!(matrix.data, Data::Floats(_));
        if let Some(turned) = self.turned.get(&place).filter(|_| in_file) {
            return Ok(turned.clone());
        }
        self.budget.spend(&matrix.shape)?;
        let turned = Parameter::new(vec![columns, rows], &transposed(&tensor))?;
        if in_file {
            // The bytes are kept, so that no others can come to lie in their place.
            self.kept.push(tensor);
            self.turned.insert(place, turned.clone());
        }
        Ok(turned)
    }

    /// A parameter times a number.
    pub(super) fn scaled(&mut self, parameter: Parameter, factor: f32) -> Result<Parameter, String> {
        if factor == 1.0 {
            return Ok(parameter);
        }
        self.budget.spend(parameter.tensor.shape())?;
        let values: Vec<f32> = parameter.tensor.to_f32().into_iter().map(|value| value * factor).collect();
        Parameter::new(parameter.tensor.shape().to_vec(), &values)
    }

    /// A bias of one number an output, which the file may have once for all, times a number.
    pub(super) fn bias(
        &mut self,
        constant: &Constant,
        outputs: usize,
        factor: f32,
    ) -> Result<Parameter, String> {
        if constant.len() == 1 && outputs != 1 {
            self.budget.spend(&[outputs])?;
            let value = constant.number().unwrap_or(0.0) * factor;
            return Parameter::new(vec![outputs], &vec![value; outputs]);
        }
        if constant.shape.last() != Some(&constant.len()) && constant.len() != 1 {
            return Err(format!("its bias of shape {:?} is none of one number an output", constant.shape));
        }
        let bias = self.parameter(constant, vec![outputs])?;
        self.scaled(bias, factor)
    }
}
