//! Sizes in bytes as Kubernetes writes them: `512Mi`, `10G`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Whole bytes with an optional suffix (`Ki Mi Gi Ti` or `k M G T`): no fractions, no exponents.
pub(crate) const QUANTITY_PATTERN: &str = "^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti|k|M|G|T)?$";

/// A size in bytes, kept as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not look like one.
    #[error("is not a whole number of bytes with an optional suffix Ki, Mi, Gi, Ti, k, M, G or T")]
    Malformed,
    /// It does not fit in 63 bits.
    #[error("is above 8 EiB")]
    TooLarge,
}

impl Quantity {
    /// The size in bytes.
    pub fn bytes(&self) -> Result<u64, QuantityError> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = self.0.split_at(digits);
        if !(1..=15).contains(&digits) || number.starts_with('0') {
            return Err(QuantityError::Malformed);
        }
        let number: u64 = number.parse().map_err(|_| QuantityError::Malformed)?;
        let unit: u64 = match suffix {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => return Err(QuantityError::Malformed),
        };
        number
            .checked_mul(unit)
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .ok_or(QuantityError::TooLarge)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 17, "pattern": QUANTITY_PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_reads_both_suffix_families() {
        for (text, bytes) in [
            ("1", 1),
            ("5k", 5_000),
            ("512Mi", 512 << 20),
            ("10G", 10_000_000_000),
            ("2Ti", 2 << 40),
        ] {
            assert_eq!(Quantity::from(text).bytes(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn bytes_refuses_fractions_zero_and_overflow() {
        for text in [
            "",
            "0",
            "01",
            "1.5Gi",
            "-1",
            "1e3",
            "Ki",
            "1 Ki",
            "1m",
            "1234567890123456",
        ] {
            assert_eq!(
                Quantity::from(text).bytes(),
                Err(QuantityError::Malformed),
                "{text}"
            );
        }
        assert_eq!(
            Quantity::from("999999999999999Ti").bytes(),
            Err(QuantityError::TooLarge)
        );
    }
}
