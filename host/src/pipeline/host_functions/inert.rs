//! Interfaces of WASI that plugins may import and that give them nothing: files and the network.
//! The run-time libraries of most languages import them, whatever a program does.
//!
//! There is no folder, so there is nothing to open a file in, and the functions that need one can
//! never be called. A function that would open a connection traps. All of them are made from the
//! component's own imports, whatever version of the interface that is, and none leads to the
//! system.

use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType, Val, types};

use super::Host;

/// The interfaces, and what a plugin that calls them reads.
const INERT: [(&str, &str); 3] = [
    ("wasi:filesystem/", "plugins have no files"),
    ("wasi:http/", "plugins have no network"),
    ("wasi:sockets/", "plugins have no network"),
];

/// Types of `wasi:io` that these interfaces mention. They exist.
const OF_IO: [&str; 4] = ["input-stream", "output-stream", "error", "pollable"];

/// The type of every resource of these interfaces. There is no value of it.
enum Nothing {}

/// Whether an import is of an interface that does nothing.
pub(super) fn is_inert(import: &str) -> bool {
    absence(import).is_some()
}

/// What an interface of this kind lacks.
fn absence(import: &str) -> Option<&'static str> {
    let mut inert = INERT.iter();
    let (_, what) = inert.find(|(name, _)| import.starts_with(name))?;
    Some(what)
}

/// Links the interfaces of this kind that a component imports.
pub(super) fn link(linker: &mut Linker<Host>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (name, import) in component.component_type().imports(&engine) {
        if let types::ComponentItem::ComponentInstance(interface) = import.ty
            && let Some(absence) = absence(name)
        {
            let mut instance = linker.instance(name)?;
            for (name, export) in interface.exports(&engine) {
                link_item(&mut instance, name, &export.ty, absence)?;
            }
        }
    }
    Ok(())
}

fn link_item(
    interface: &mut LinkerInstance<'_, Host>,
    name: &str,
    item: &types::ComponentItem,
    absence: &'static str,
) -> wasmtime::Result<()> {
    match item {
        types::ComponentItem::ComponentFunc(_) => {
            let result = match name {
                "get-directories" => Some(Val::List(Vec::new())),
                "filesystem-error-code" => Some(Val::Option(None)),
                // They take a file or a folder, or would open a connection.
                _ => None,
            };
            interface.func_new(name, move |_, _, _, results| {
                let result = result.clone();
                let result = result.ok_or_else(|| wasmtime::Error::msg(absence))?;
                results.fill(result);
                Ok(())
            })
        }
        types::ComponentItem::Resource(_) if !OF_IO.contains(&name) => {
            interface.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(()))
        }
        _ => Ok(()),
    }
}
