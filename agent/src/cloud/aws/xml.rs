//! An XML document as a tree: as much as the answers of AWS need.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// Deeper than any answer is.
const DEEPEST: usize = 64;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Its name, without a prefix.
    pub(super) name: String,
    /// The text directly in it.
    pub(super) text: String,
    /// The elements directly in it.
    pub(super) children: Vec<Node>,
}

impl Node {
    /// Reads a document's outermost element.
    pub(super) fn read(document: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(document);
        let mut open = vec![Self::default()];
        loop {
            let event = reader.read_event().map_err(|e| format!("not XML: {e}"))?;
            let depth = open.len();
            let top = open.last_mut().ok_or("not XML: an end without a beginning")?;
            match event {
                Event::Start(tag) if depth < DEEPEST => open.push(Self::named(tag.local_name().as_ref())),
                Event::Start(_) => return Err("not an answer: too deep".into()),
                Event::Empty(tag) => top.children.push(Self::named(tag.local_name().as_ref())),
                Event::Text(text) => top.text.push_str(&text),
                Event::CData(text) => top.text.push_str(&text),
                Event::GeneralRef(entity) => {
                    let character = entity.resolve_char_ref().map_err(|e| format!("not XML: {e}"))?;
                    match (character, resolve_predefined_entity(&entity)) {
                        (Some(character), _) => top.text.push(character),
                        (None, Some(text)) => top.text.push_str(text),
                        (None, None) => return Err("not an answer: an entity of its own".into()),
                    }
                }
                Event::End(_) => {
                    let done = open.pop().unwrap_or_default();
                    open.last_mut().ok_or("not XML: an end without a beginning")?.children.push(done);
                }
                Event::Eof => break,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        match (open.len(), open.pop().and_then(|root| root.children.into_iter().next())) {
            (1, Some(outermost)) => Ok(outermost),
            _ => Err("not XML: it ends too early".into()),
        }
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The first child of a name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text at a path of names; none when it is not there or empty.
    pub(super) fn at(&self, path: &[&str]) -> Option<&str> {
        let node = path.iter().try_fold(self, |node, name| node.child(name))?;
        Some(node.text.trim()).filter(|text| !text.is_empty())
    }

    /// The text of a child as it stands, with its blanks; empty when there is none.
    pub(super) fn verbatim(&self, name: &str) -> String {
        self.child(name).map(|child| child.text.clone()).unwrap_or_default()
    }

    /// The elements of a list.
    pub(super) fn items(&self, list: &str) -> impl Iterator<Item = &Self> {
        self.child(list).into_iter().flat_map(|list| &list.children)
    }

    /// The first element of a name, however deep.
    pub(super) fn find(&self, name: &str) -> Option<&Self> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_tree_with_its_entities_resolved() {
        let text = "<?xml version=\"1.0\"?>\n<a xmlns=\"x\"> <b><c>1 &lt; 2 &amp; &#x41;</c><d/></b><l><i>x</i><i>y</i></l></a>";
        let node = Node::read(text).unwrap();
        assert_eq!(node.at(&["b", "c"]), Some("1 < 2 & A"));
        assert_eq!((node.at(&["b", "d"]), node.at(&["b", "e"])), (None, None));
        assert_eq!(node.items("l").map(|i| i.text.as_str()).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(node.find("i").unwrap().text, "x");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = "<a>".repeat(100);
        for bad in
            ["", "text", "<a>", "<a></b>", "</a>", "<a>&own;</a>", &deep, "<!DOCTYPE x [<!ENTITY y \"z\">]><a>&y;</a>"]
        {
            assert!(Node::read(bad).is_err(), "{bad:.30}");
        }
    }
}
