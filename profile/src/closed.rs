//! Closed enums: a set of strings in the schema whose meanings `kubectl explain` shows.

/// Schema keyword that carries the variants' meanings until [`crate::crds`] moves them into the description, which a
/// field's own description replaces. It is one that the Kubernetes type of a schema keeps.
pub(crate) const VARIANTS: &str = "example";

/// Declares a unit enum whose serialized names, documentation and schema stand in one place.
macro_rules! closed_enum {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident {
            $( $(#[doc = $vdoc:literal])+ $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize,
        )]
        pub enum $name {
            $( $(#[doc = $vdoc])+ #[serde(rename = $text)] $variant, )+
        }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name as it stands in a document.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What the value means, and for a reason also the remedy.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($vdoc),+).trim()),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                let names: Vec<&str> = Self::ALL.iter().map(|v| v.as_str()).collect();
                let meanings: Vec<String> =
                    Self::ALL.iter().map(|v| format!("{}: {}", v.as_str(), v.meaning())).collect();
                ::schemars::json_schema!({
                    "type": "string",
                    "description": concat!($($doc),+).trim(),
                    "enum": names,
                    "example": meanings,
                })
            }
        }
    };
}
