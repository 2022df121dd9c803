//! Generates random valid declarations of record types.

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

/// Valid field names that are keywords or have a meaning in SQL, JSON, Rust, CSV, the API or the engines.
const NAMES: &[&str] = &[
    "all",
    "cast",
    "check",
    "class",
    "collate",
    "column",
    "constructor",
    "create",
    "cursor",
    "day",
    "default",
    "end",
    "filter",
    "fn",
    "from",
    "group",
    "key",
    "length",
    "limit",
    "natural",
    "oid",
    "order",
    "order_by",
    "primary",
    "returning",
    "rowid",
    "select",
    "self",
    "table",
    "title",
    "type",
    "union",
    "user",
    "value",
    "values",
    "where",
    "x",
    "year",
    "a_name_of_a_field_that_is_as_long_as_one_can_be_at_all_9",
    "z9_9",
];

/// Texts that need escaping somewhere. They have no control characters and are in Unicode NFC.
const TEXTS: &[&str] =
    &["a", "ß", "É", "%", "_", "\\", "'", "\"", "`", "$1", "=", "a b", "#", "🎬"];

/// A field without its name.
#[derive(Debug, Clone)]
struct Shape {
    ty: &'static str,
    is_required: bool,
    /// The minimum and maximum length of a text, or value of an integer. Texts are bounded, because an index entry
    /// holds only a few hundred characters. Integers without bounds have 64 bits.
    bounds: Option<(i64, i64)>,
    /// Whether the field has a default, an example and a description.
    extras: [bool; 3],
    /// Whether a text can be searched.
    is_searchable: bool,
    /// Whether a text that can be searched has an index of trigrams.
    has_trigrams: bool,
    /// Whether the field is read-only; only if it is nullable.
    is_read_only: bool,
    value: Index,
}

fn shape(ty: &'static str, required: impl Strategy<Value = bool>) -> impl Strategy<Value = Shape> {
    let most = prop_oneof![1..=200_i64, Just(i64::from(i32::MAX)), Just(i64::MAX)];
    let least = prop_oneof![2 => -1..=3_i64, 1 => Just(i64::from(i32::MIN)), 1 => Just(i64::MIN)];
    let bounds = (least, most).prop_map(move |(least, most)| match ty {
        "text" => {
            let most = most.min(200);
            (least.max(0).min(most), most)
        }
        _ => (least.min(most), most),
    });
    let bounds = match ty {
        "text" => bounds.prop_map(Some).boxed(),
        _ => prop::option::weighted(0.8, bounds).boxed(),
    };
    let flags = (prop::bool::weighted(0.75), any::<bool>(), prop::bool::weighted(0.15));
    (required, bounds, any::<[bool; 3]>(), flags, any::<Index>()).prop_map(
        move |(is_required, bounds, extras, (is_searchable, has_trigrams, is_read_only), value)| {
            Shape {
                ty,
                is_required,
                bounds,
                extras,
                is_searchable,
                has_trigrams,
                is_read_only: is_read_only && !is_required,
                value,
            }
        },
    )
}

impl Shape {
    /// Returns a value of the field as TOML.
    fn value(&self) -> String {
        let (least, most) = self.bounds.unwrap_or((i64::MIN, i64::MAX));
        match self.ty {
            "text" => {
                let scrap = TEXTS[self.value.index(TEXTS.len())];
                let count = most / i64::try_from(scrap.chars().count()).unwrap();
                let text = scrap.repeat(usize::try_from(count.clamp(1, 9)).unwrap());
                let length = i64::try_from(text.chars().count()).unwrap();
                let fits = (least..=most).contains(&length);
                let shortest = || "a".repeat(usize::try_from(least.max(1)).unwrap());
                serde_json::Value::from(if fits { text } else { shortest() }).to_string()
            }
            "integer" => most.to_string(),
            "boolean" => "true".to_owned(),
            "date" => {
                ["2024-02-29", "0001-01-01", "\"9999-12-31\""][self.value.index(3)].to_owned()
            }
            "timestamp" => ["2024-02-29T23:59:59.999999Z", "2024-02-29 12:00:00+02:00"]
                [self.value.index(2)]
            .to_owned(),
            "id" => "\"0192c9a0-5e2b-7c1a-9f3e-6b1d2c3a4f50\"".to_owned(),
            other => panic!("unknown type {other}"),
        }
    }

    fn declare(&self, name: &str) -> String {
        let mut lines = vec![format!("[fields.{name}]"), format!("type = \"{}\"", self.ty)];
        match (self.ty, self.bounds) {
            ("text", Some((least, most))) => lines.push(format!("length = [{least}, {most}]")),
            ("integer", Some((least, most))) => lines.push(format!("range = [{least}, {most}]")),
            _ => {}
        }
        if self.ty == "text" && !self.is_searchable {
            lines.push("search = false".to_owned());
        }
        if self.ty == "text" && self.is_searchable && self.has_trigrams {
            lines.push("trigram = true".to_owned());
        }
        if !self.is_required {
            lines.push("required = false".to_owned());
        }
        if self.is_read_only {
            lines.push("read_only = true".to_owned());
        }
        let [has_default, has_example, has_description] = self.extras;
        if has_default {
            lines.push(format!("default = {}", self.value()));
        }
        if has_example {
            lines.push(format!("example = {}", self.value()));
        }
        if has_description {
            lines.push(format!("description = 'The {name} of it, \"say\".'"));
        }
        lines.join("\n")
    }
}

/// Generates a declaration with at least two texts, two nullable fields and four types. Its field names are keywords
/// of SQL and other languages.
pub fn declaration() -> impl Strategy<Value = String> {
    (0..1000_u32).prop_flat_map(numbered_declaration)
}

/// Generates a declaration for one of several collections with different numbers.
pub fn numbered_declaration(number: u32) -> impl Strategy<Value = String> {
    let fields = (
        shape("text", Just(true)),
        shape("text", Just(false)),
        shape("integer", any::<bool>()),
        shape("date", Just(false)),
        shape("timestamp", any::<bool>()),
        prop::collection::vec(
            select(vec!["text", "integer", "boolean", "date", "timestamp", "id"])
                .prop_flat_map(|ty| shape(ty, any::<bool>())),
            0..5,
        ),
    );
    let fields = fields.prop_map(|(a, b, c, d, e, others)| {
        [a, b, c, d, e].into_iter().chain(others).collect::<Vec<Shape>>()
    });
    let names = subsequence(NAMES, 10).prop_shuffle();
    let counts = (0..3_usize, 0..4_usize);
    (fields.prop_shuffle(), names, counts).prop_map(move |(shapes, names, (unique, indexes))| {
        let fields: Vec<(&str, Shape)> = names.into_iter().zip(shapes).collect();
        let required = fields.iter().filter(|(_, shape)| shape.is_required);
        let unique: Vec<&str> = required.map(|(name, _)| *name).take(unique).collect();
        let unique = if unique.is_empty() { vec![] } else { vec![unique] };
        // Any two texts together are shorter than the limit of an index entry.
        let mut indexes: Vec<Vec<&str>> =
            fields.windows(2).take(indexes).map(|pair| vec![pair[0].0, pair[1].0]).collect();
        indexes.retain(|index| !unique.contains(index));
        let declared: Vec<String> =
            fields.iter().map(|(name, shape)| shape.declare(name)).collect();
        let searches: Vec<String> = fields
            .iter()
            .take(3)
            .map(|(name, _)| format!("[searches.{name}]\nfilter = \"{name} is not null\""))
            .collect();
        format!(
            "name = \"Specimen{number}\"\ncollection = \"specimens_{number}\"\n\
                 unique = {unique:?}\nindexes = {indexes:?}\n\n{}\n\n{}\n",
            declared.join("\n\n"),
            searches.join("\n\n")
        )
    })
}
