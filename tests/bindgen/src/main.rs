//! Generates the SDK's bindings from the WIT: `witgate-bindgen WIT OUT` writes one file per world.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use wit_bindgen_core::{Files, WorldGenerator, wit_parser::Resolve};
use wit_bindgen_rust::{Opts, WithOption};

/// A world, the macro that exports it, and the types for which the SDK has its own.
struct World {
    name: &'static str,
    export_macro: &'static str,
    with: Vec<(String, WithOption)>,
    /// The plugin's world also declares the types that only other worlds use.
    unused_types: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(wit), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("expected the folder of the WIT and the folder to write to".into());
    };
    for world in worlds() {
        let file = format!("{}_world.rs", world.name.trim_end_matches("-plugin"));
        fs::write(out.join(file), bindings(&wit, world)?)?;
    }
    Ok(())
}

fn worlds() -> Vec<World> {
    let hook = |name, export_macro| World {
        name,
        export_macro,
        with: vec![path("witgate:plugin/exchange@0.2.0", "crate::host::exchange")],
        unused_types: false,
    };
    vec![
        World {
            name: "plugin",
            export_macro: "export_plugin",
            with: own_types(),
            unused_types: true,
        },
        hook("request-plugin", "export_request"),
        hook("attempt-plugin", "export_attempt"),
        hook("failure-plugin", "export_failure"),
        hook("response-plugin", "export_response"),
    ]
}

/// The types that the SDK declares itself.
fn own_types() -> Vec<(String, WithOption)> {
    [
        ("exchange@0.2.0/node", "crate::Node"),
        ("exchange@0.2.0/text-part", "crate::TextPart"),
        ("exchange@0.2.0/text-match", "crate::TextMatch"),
        ("exchange@0.2.0/from-to", "crate::FromTo"),
        ("exchange@0.2.0/operation", "crate::Operation"),
        ("exchange@0.2.0/outline", "crate::Outline"),
        ("exchange@0.2.0/edit-error", "crate::EditError"),
        ("exchange@0.2.0/event", "crate::Event"),
        ("exchange@0.2.0/event-verdict", "crate::EventVerdict"),
        ("exchange@0.2.0/retry-target", "crate::RetryTarget"),
        ("kv@0.2.0/kv-error", "crate::kv::KvError"),
        ("log@0.2.0/level", "crate::log::Level"),
    ]
    .map(|(name, rust)| path(&format!("witgate:plugin/{name}"), rust))
    .into()
}

fn path(wit: &str, rust: &str) -> (String, WithOption) {
    (wit.to_owned(), WithOption::Path(rust.to_owned()))
}

fn bindings(wit: &Path, world: World) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit)?;
    let id = resolve.select_world(&[package], Some(world.name))?;
    let options = Opts {
        // For the reader, and so that rustfmt leaves the files as they are.
        format: true,
        pub_export_macro: true,
        export_macro_name: Some(world.export_macro.to_owned()),
        generate_unused_types: world.unused_types,
        with: world.with,
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, id, &mut files)?;
    let file = files.iter().next().ok_or("no file was generated")?;
    Ok(file.1.to_vec())
}
