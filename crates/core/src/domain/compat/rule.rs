//! The rules of compatibility, with the remedy for each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Direction of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The new schema does not accept what the old one allowed.
    Backward,
    /// The old schema does not accept what the new one allows.
    Forward,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $word:literal, $backward:literal, $forward:literal;)*) => {
        /// A rule of compatibility.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Rule { $($(#[$doc])* $rule,)* }

        impl Rule {
            /// A stable word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$rule => $word,)* }
            }

            /// What would make the new schema compatible.
            #[must_use]
            pub const fn remedy(self, direction: Direction) -> &'static str {
                match (self, direction) {
                    $((Self::$rule, Direction::Backward) => $backward,
                      (Self::$rule, Direction::Forward) => $forward,)*
                }
            }
        }

        #[cfg(test)]
        pub(super) const RULES: &[Rule] = &[$(Rule::$rule),*];
    };
}

rules! {
    /// A type is no longer accepted.
    TypeNarrowed = "type_narrowed",
        "keep the types it had, and only add to them",
        "keep to the types that older versions accept";
    /// A value of `enum` or `const` is no longer accepted.
    ValuesNarrowed = "values_narrowed",
        "keep every value that was listed, and only add to them",
        "write no value that older versions do not list";
    /// A limit on a size, number or content is tighter.
    LimitTightened = "limit_tightened",
        "keep the limit, or loosen it; check tighter ones where events are made",
        "keep the limit, or tighten it: older versions refuse more than theirs";
    /// `pattern`, `format` or an encoding asks for more.
    TextNarrowed = "text_narrowed",
        "keep it as it was, or drop it; check texts where events are made",
        "keep it: older versions ask for it";
    /// A property must be there that need not have been.
    RequiredAdded = "required_added",
        "leave it optional, or give the new property a default",
        "keep it required: older versions ask for it";
    /// A property was added to an open content model.
    PropertyAddedToOpenModel = "property_added_to_open_model",
        "give the new property the schema {}, or another name that has never been used, under a new subject",
        "keep the property: older versions check it";
    /// A property was removed from a closed content model.
    PropertyRemovedFromClosedModel = "property_removed_from_closed_model",
        "keep the property, optional, and stop writing it",
        "add it only under a compatibility that looks backward alone, readers upgraded first; or under a new subject";
    /// A pattern restricts members that were unrestricted.
    PatternPropertyAdded = "pattern_property_added",
        "leave the pattern out, or let it accept whatever was allowed under such names",
        "keep the pattern: older versions check it";
    /// An open content model was closed.
    ModelClosed = "model_closed",
        "leave it open, with additionalProperties (or items) as it was",
        "keep it closed: older versions accept nothing more";
    /// An item was added to an open content model.
    ItemAddedToOpenModel = "item_added_to_open_model",
        "give the item the schema {}, or close the array in a version before",
        "keep the item's schema: older versions check it";
    /// An item was removed from a closed content model.
    ItemRemovedFromClosedModel = "item_removed_from_closed_model",
        "keep the item's schema at its position",
        "write no more items than older versions know";
    /// A dependency was added or tightened.
    DependencyAdded = "dependency_added",
        "leave the dependency out",
        "keep the dependency: older versions ask for it";
    /// No alternative accepts every value that was allowed.
    AlternativesNarrowed = "alternatives_narrowed",
        "keep every alternative as it was, and only add to them",
        "write nothing that no alternative of the older versions accepts";
    /// Two alternatives of a `oneOf` may accept the same value.
    AlternativesOverlap = "alternatives_overlap",
        "use anyOf, or tell the alternatives apart by type or by a required property with a const",
        "keep the alternatives apart as older versions have them";
    /// `not` excludes more.
    ExclusionWidened = "exclusion_widened",
        "keep `not` as it was, or let it exclude less",
        "keep `not`: older versions refuse what it excludes";
    /// `if`, `then` or `else` refuses more.
    ConditionChanged = "condition_changed",
        "keep if, then and else as they were, or drop them",
        "keep if, then and else: older versions check them";
    /// No value is accepted any more.
    NothingAccepted = "nothing_accepted",
        "accept what was accepted before",
        "write nothing here: older versions accept nothing";
    /// A reference cannot be resolved.
    ReferenceUnknown = "reference_unknown",
        "keep the reference as it was, or put what it names into $defs",
        "keep the reference as it was";
    /// An unknown keyword was added, removed or changed.
    KeywordUnknown = "keyword_unknown",
        "keep the keyword as it was",
        "keep the keyword as it was";
    /// The dialect changed.
    DraftChanged = "draft_changed",
        "keep $schema as it was; a new dialect belongs under a new subject",
        "keep $schema as it was; a new dialect belongs under a new subject";
    /// The schemas are too large to be compared.
    TooComplex = "too_complex",
        "make the schema simpler, or ask the registry alone",
        "make the schema simpler, or ask the registry alone";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_the_same_name_in_json() {
        for rule in RULES {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
    }
}
