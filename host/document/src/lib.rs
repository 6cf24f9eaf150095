//! A JSON text that is queried by JSONPath and edited by JSON Patch without parsing the rest.
// Signatures first; bodies follow.
use bytes::Bytes;

#[derive(Clone, Debug)]
pub struct Document {}

#[allow(unused_variables, reason = "signatures only")]
impl Document {
    pub fn new(text: impl Into<Bytes>) -> Self { unimplemented!() }
    pub fn bytes(&self) -> Bytes { unimplemented!() }
    pub fn len(&self) -> usize { unimplemented!() }
    pub fn is_empty(&self) -> bool { unimplemented!() }
    pub fn is_edited(&self) -> bool { unimplemented!() }
    pub fn select(&self, path: &Path) -> Result<Vec<String>, Error> { unimplemented!() }
    pub fn read(&self, path: &Path) -> Result<Vec<Node>, Error> { unimplemented!() }
    pub fn matches(&self, path: &Path) -> Result<bool, Error> { unimplemented!() }
    pub fn patch(&mut self, edits: &[Operation]) -> Result<(), Error> { unimplemented!() }
    pub fn remove_all(&mut self, path: &Path) -> Result<u32, Error> { unimplemented!() }
    pub fn top(&self, name: &str) -> Option<Bytes> { unimplemented!() }
    pub fn top_str(&self, name: &str) -> Option<String> { unimplemented!() }
    pub fn get(&self, pointer: &str) -> Result<Option<Bytes>, Error> { unimplemented!() }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node { pub at: String, pub value: Bytes }

#[derive(Clone, Debug)]
pub struct Path {}
#[allow(unused_variables, reason = "signatures only")]
impl Path {
    pub fn parse(text: &str) -> Result<Path, Error> { unimplemented!() }
    pub fn literals(&self) -> impl Iterator<Item = &str> { std::iter::empty() }
}
impl std::fmt::Display for Path { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { unimplemented!() } }

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Add { at: String, value: Bytes },
    Remove { at: String },
    Replace { at: String, value: Bytes },
    Move { from: String, to: String },
    Copy { from: String, to: String },
    Test { at: String, value: Bytes },
}
#[allow(unused_variables, reason = "signatures only")]
impl Operation {
    pub fn parse_list(text: &[u8]) -> Result<Vec<Operation>, Error> { unimplemented!() }
    pub fn write_list(edits: &[Operation]) -> String { unimplemented!() }
}

#[derive(Clone, Debug)]
pub struct Names {}
#[derive(Clone, Debug)]
pub struct Found {}
#[allow(unused_variables, reason = "signatures only")]
impl Names {
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self { unimplemented!() }
    pub fn find_in(&self, document: &Document) -> Found { unimplemented!() }
}
#[allow(unused_variables, reason = "signatures only")]
impl Found { pub fn has(&self, name: &str) -> bool { unimplemented!() } }

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error { BadPath(String), BadDocument { at: usize, what: String }, BadValue(String), NotApplicable(String), TooMuch(String) }
impl std::fmt::Display for Error { fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { unimplemented!() } }
impl std::error::Error for Error {}

pub mod string {
    /// Decodes a JSON string token, quotes included.
    pub fn decode(_token: &[u8]) -> Option<String> { unimplemented!() }
    pub fn encode(_text: &str) -> String { unimplemented!() }
}
