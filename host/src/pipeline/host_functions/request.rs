//! The request's functions of the contract, on the view that a call lends.

use wasmtime::component::Resource;
use witgate_contract::body;
use witgate_document::{Match, Operation as Edit, Part};

use super::{Edited, Host, edited};
use crate::{
    off_worker::{LARGE, MANY_EDITS, off_worker},
    pipeline::{
        bindings::exchange::{self, HostRequest, Node, Operation, TextMatch, TextPart},
        views::RequestView,
    },
};

fn edit(operation: Operation) -> Edit {
    match operation {
        Operation::Add(Node { pointer, value }) => Edit::Add {
            at: pointer,
            value: value.into(),
        },
        Operation::Remove(pointer) => Edit::Remove { at: pointer },
        Operation::Replace(Node { pointer, value }) => Edit::Replace {
            at: pointer,
            value: value.into(),
        },
        Operation::Move(way) => Edit::Move {
            from: way.from,
            to: way.to,
        },
        Operation::Copy(way) => Edit::Copy {
            from: way.from,
            to: way.to,
        },
        Operation::Test(Node { pointer, value }) => Edit::Test {
            at: pointer,
            value: value.into(),
        },
    }
}

fn part(part: TextPart) -> Part {
    let offset = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
    Part {
        at: part.pointer,
        start: offset(part.start),
        end: offset(part.end),
        text: part.text,
    }
}

fn text_part(part: Part) -> TextPart {
    // No body is that long.
    let offset = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    TextPart {
        pointer: part.at,
        start: offset(part.start),
        end: offset(part.end),
        text: part.text,
    }
}

fn text_match(found: Match) -> TextMatch {
    let groups = found.groups.into_iter();
    TextMatch {
        part: text_part(found.part),
        groups: groups.map(|group| group.map(text_part)).collect(),
    }
}

impl HostRequest for Host {
    fn kind(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.kind.as_str().to_owned())
    }

    fn method(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.kind.method().to_owned())
    }

    fn path(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.path().to_owned())
    }

    fn query(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.query().to_owned())
    }

    fn id(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.id.to_string())
    }

    fn session(&mut self, view: Resource<RequestView>) -> wasmtime::Result<Option<String>> {
        Ok(self.table.get(&view)?.session.as_deref().map(str::to_owned))
    }

    fn conversation(&mut self, view: Resource<RequestView>) -> wasmtime::Result<String> {
        Ok(self.table.get(&view)?.conversation.id().to_string())
    }

    fn header(
        &mut self,
        view: Resource<RequestView>,
        name: String,
    ) -> wasmtime::Result<Vec<String>> {
        Ok(self.table.get(&view)?.header(&name))
    }

    fn set_header(
        &mut self,
        view: Resource<RequestView>,
        name: String,
        values: Vec<String>,
    ) -> Edited<()> {
        edited(self.table.get_mut(&view)?.set_header(&name, &values))
    }

    fn set_path(&mut self, view: Resource<RequestView>, path_and_query: String) -> Edited<()> {
        edited(self.table.get_mut(&view)?.set_path(&path_and_query))
    }

    fn matches(&mut self, view: Resource<RequestView>, query: String) -> Edited<bool> {
        let view = self.table.get(&view)?;
        edited(off_worker(view.is_large(), || view.matches(&query)))
    }

    fn select(&mut self, view: Resource<RequestView>, query: String) -> Edited<Vec<String>> {
        let view = self.table.get(&view)?;
        edited(off_worker(view.is_large(), || view.select(&query)))
    }

    fn read(&mut self, view: Resource<RequestView>, query: String) -> Edited<Vec<Node>> {
        let node = |body::Node { at, value }| Node { pointer: at, value };
        let view = self.table.get(&view)?;
        let nodes = off_worker(view.is_large(), || view.read(&query));
        edited(nodes.map(|nodes| nodes.into_iter().map(node).collect()))
    }

    fn patch(&mut self, view: Resource<RequestView>, edits: Vec<Operation>) -> Edited<()> {
        let edits: Vec<_> = edits.into_iter().map(edit).collect();
        let view = self.table.get_mut(&view)?;
        let off = view.is_large() || edits.len() >= MANY_EDITS;
        edited(off_worker(off, || view.patch(edits)))
    }

    fn remove_all(&mut self, view: Resource<RequestView>, query: String) -> Edited<u32> {
        let view = self.table.get_mut(&view)?;
        edited(off_worker(view.is_large(), || view.remove_all(&query)))
    }

    fn find_matches(
        &mut self,
        view: Resource<RequestView>,
        query: String,
        regex: String,
    ) -> Edited<Vec<TextMatch>> {
        let view = self.table.get(&view)?;
        let found = off_worker(view.is_large(), || view.find_matches(&query, &regex));
        edited(found.map(|found| found.into_iter().map(text_match).collect()))
    }

    fn replace_matches(
        &mut self,
        view: Resource<RequestView>,
        query: String,
        regex: String,
        replacement: String,
    ) -> Edited<u32> {
        let view = self.table.get_mut(&view)?;
        edited(off_worker(view.is_large(), || {
            view.replace_matches(&query, &regex, &replacement)
        }))
    }

    fn replace_parts(&mut self, view: Resource<RequestView>, parts: Vec<TextPart>) -> Edited<()> {
        let parts: Vec<_> = parts.into_iter().map(part).collect();
        let view = self.table.get_mut(&view)?;
        let off = view.is_large() || parts.len() >= MANY_EDITS;
        edited(off_worker(off, || view.replace_parts(parts)))
    }

    fn outline(&mut self, view: Resource<RequestView>, longest: u32) -> Edited<exchange::Outline> {
        let view = self.table.get_mut(&view)?;
        let outline = off_worker(view.is_large(), || view.outline(longest));
        edited(outline.map(|outline| exchange::Outline {
            body: outline.text().to_owned(),
            prefix: outline.prefix().to_owned(),
        }))
    }

    fn rewrite(&mut self, view: Resource<RequestView>, body: String) -> Edited<()> {
        let view = self.table.get_mut(&view)?;
        let off = view.is_large() || body.len() >= LARGE;
        edited(off_worker(off, || view.rewrite(&body)))
    }

    fn note(&mut self, view: Resource<RequestView>, line: String) -> wasmtime::Result<()> {
        self.table.get_mut(&view)?.note(&line);
        Ok(())
    }

    fn watch_response(&mut self, view: Resource<RequestView>) -> wasmtime::Result<()> {
        self.table.get_mut(&view)?.watch_response();
        Ok(())
    }

    fn drop(&mut self, view: Resource<RequestView>) -> wasmtime::Result<()> {
        self.table.delete(view)?;
        Ok(())
    }
}
