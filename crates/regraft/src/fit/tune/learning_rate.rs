//! The largest learning rate: a number, or the one that a range test finds.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest learning rate, that of the head: in `regraft.toml` a number or `"find"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum LearningRate {
    /// This one, above 0.
    Given(f64),
    /// The one that a range test on the training images suggests before the trainings (Smith 2017).
    Find,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Name(String),
}

const FIND: &str = "find";

impl From<f64> for LearningRate {
    fn from(rate: f64) -> Self {
        Self::Given(rate)
    }
}

impl From<LearningRate> for Written {
    fn from(rate: LearningRate) -> Self {
        match rate {
            LearningRate::Given(rate) => Self::Number(rate),
            LearningRate::Find => Self::Name(FIND.to_owned()),
        }
    }
}

impl TryFrom<Written> for LearningRate {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(rate) => Ok(Self::Given(rate)),
            Written::Name(name) => name.parse(),
        }
    }
}

impl FromStr for LearningRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            (FIND, _) => Ok(Self::Find),
            (_, Ok(rate)) => Ok(Self::Given(rate)),
            _ => Err(format!("'{text}' is neither a number nor '{FIND}'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TuningConfig;

    #[test]
    fn a_number_and_a_name_survive_toml() {
        for rate in [LearningRate::Given(0.02), LearningRate::Find] {
            let config = TuningConfig { learning_rate: Some(rate), ..TuningConfig::default() };
            assert_eq!(toml::from_str::<TuningConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        }
        let whole: TuningConfig = toml::from_str("learning-rate = 1").unwrap();
        assert_eq!(whole.learning_rate, Some(LearningRate::Given(1.0)));
        let error = toml::from_str::<TuningConfig>("learning-rate = \"seek\"").unwrap_err().to_string();
        assert!(error.contains("'seek' is neither a number nor 'find'"), "{error}");
    }
}
