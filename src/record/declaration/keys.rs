//! The unique keys and the indexes of a declaration.

use super::document::{Content, Entry, Node};
use super::names::{MANAGED, Named, check};
use super::{
    Keys, MAX_KEY_CHARACTERS, MAX_KEY_FIELDS, MAX_KEYS, Mistake, Reader, find, keep, quoted,
};
use crate::query::diagnostic::did_you_mean;
use crate::query::{Field, Type};

/// Whether a list of fields is a unique key or an index.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Unique,
    Index,
}

impl Reader<'_> {
    /// The unique keys and the indexes. `declared` are the fields of the file, and `fields` those without a mistake.
    pub(super) fn keys(&mut self, root: &[Entry], declared: &[Entry], fields: &[Field]) -> Keys {
        let mut keys = Keys::default();
        if let Some(entry) = find(root, "unique") {
            keys.unique = self.lists(entry, Purpose::Unique, declared, fields, &[]);
        }
        if let Some(entry) = find(root, "indexes") {
            keys.indexes = self.lists(entry, Purpose::Index, declared, fields, &keys.unique);
        }
        keys
    }

    fn lists(
        &mut self,
        entry: &Entry,
        purpose: Purpose,
        declared: &[Entry],
        fields: &[Field],
        unique: &[Vec<&'static str>],
    ) -> Vec<Vec<&'static str>> {
        let expected = match purpose {
            Purpose::Unique => "lists of fields, such as [[\"title\", \"release_year\"]]",
            Purpose::Index => {
                "lists of fields, such as [[\"genre\", \"expiry_date\"], [\"release_year\"]]"
            }
        };
        let is_text = |item: &Node| matches!(item.content, Content::Text(_));
        let written = self.source.get(entry.node.span.start..entry.node.span.end);
        let intended = written.filter(|written| !written.contains('\n')).and_then(|written| {
            match &entry.node.content {
                Content::Text(_) => Some(format!("[[{written}]]")),
                Content::List(items) if items.iter().all(is_text) => Some(format!("[{written}]")),
                _ => None,
            }
        });
        let items = match &entry.node.content {
            Content::List(items) if items.is_empty() || !items.iter().all(is_text) => items,
            _ => {
                self.unexpected(&entry.node, &entry.key, expected, intended);
                return Vec::new();
            }
        };
        if items.len() > MAX_KEYS {
            let message = format!(
                "`{}`: expected at most {MAX_KEYS} lists, found {}",
                entry.key,
                items.len()
            );
            self.report(Mistake::new(entry.node.span, message));
            return Vec::new();
        }
        let mut lists: Vec<Vec<&'static str>> = Vec::new();
        for item in items {
            let Content::List(names) = &item.content else {
                self.unexpected(item, &entry.key, expected, None);
                continue;
            };
            let Some(list) = self.list(item, names, purpose, declared, fields) else { continue };
            if lists.contains(&list) {
                self.report(Mistake::new(
                    item.span,
                    format!("`{}`: this list is repeated", entry.key),
                ));
            } else if unique.contains(&list) {
                let message = "`indexes`: these fields are unique, and so have an index already";
                self.report(Mistake::new(item.span, message).help("remove the list"));
            } else {
                lists.push(list);
            }
        }
        lists
    }

    /// The fields of one unique key or index, if all of them will do.
    fn list(
        &mut self,
        list: &Node,
        items: &[Node],
        purpose: Purpose,
        declared: &[Entry],
        fields: &[Field],
    ) -> Option<Vec<&'static str>> {
        if !(1..=MAX_KEY_FIELDS).contains(&items.len()) {
            let message = format!("expected 1 to {MAX_KEY_FIELDS} fields, found {}", items.len());
            self.report(Mistake::new(list.span, message));
            return None;
        }
        let before = self.mistakes.len();
        let mut names = Vec::new();
        let mut characters: i64 = 0;
        for item in items {
            let Content::Text(name) = &item.content else {
                let message =
                    format!("expected the name of a field, found {}", item.content.kind());
                self.report(Mistake::new(item.span, message));
                continue;
            };
            if names.contains(&name.as_str()) {
                self.report(Mistake::new(
                    item.span,
                    format!("the field {} is repeated", quoted(name)),
                ));
                continue;
            }
            names.push(name.as_str());
            // The service's own fields are no part of a declaration, but may be searched fast.
            let is_managed = purpose == Purpose::Index && MANAGED.contains(&name.as_str());
            if find(declared, name).is_none() && !is_managed {
                let is_good = |name: &&str| check(Named::Field, name, item.span).is_none();
                let known = declared.iter().map(|entry| entry.key.as_str()).filter(is_good);
                let message = format!("unknown field {}", quoted(name));
                self.report(Mistake::new(item.span, message).help(did_you_mean(name, known)));
                continue;
            }
            // A field with a mistake is reported there.
            let Some(field) = fields.iter().find(|field| field.name == name) else { continue };
            if field.ty == Type::Text {
                characters = characters.saturating_add(*field.bounds.end());
            }
            let objection = match purpose {
                Purpose::Unique if field.nullable => "is not required, and null equals nothing",
                Purpose::Unique if !field.writable => "is read-only",
                _ => continue,
            };
            let message = format!("`{name}` cannot be part of a unique key: it {objection}");
            self.report(Mistake::new(item.span, message));
        }
        if characters > MAX_KEY_CHARACTERS {
            let message = format!(
                "the texts have up to {characters} characters, and an index holds {MAX_KEY_CHARACTERS}"
            );
            let help = "lower the `length` of a field, or remove one";
            self.report(Mistake::new(list.span, message).help(help));
        }
        (self.mistakes.len() == before).then(|| names.into_iter().map(keep).collect())
    }
}
