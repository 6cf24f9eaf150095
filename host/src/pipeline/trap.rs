//! Where in a plugin a trap happened, from the names and lines that it was built with.

use std::num::NonZeroUsize;

use wasmtime::{FrameInfo, WasmBacktrace};

/// The most functions of a backtrace that are looked at.
pub(super) const FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(16);
/// The most functions that are named.
const NAMED: usize = 3;
/// How the engine introduces a backtrace, which is a cause of an error like any other.
const BACKTRACE: &str = "error while executing at wasm backtrace";

/// The causes of an error, and the innermost functions that were running if they have names.
pub(super) fn text(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    let causes: Vec<String> = causes
        .filter(|cause| !cause.starts_with(BACKTRACE))
        .collect();
    let causes = causes.join(": ");
    let frames = error
        .downcast_ref::<WasmBacktrace>()
        .map_or(&[][..], WasmBacktrace::frames);
    let places: Vec<String> = frames.iter().filter_map(place).take(NAMED).collect();
    match places.is_empty() {
        true => causes,
        false => format!("{causes}, in {}", places.join(", called by ")),
    }
}

/// A function and the line in it.
fn place(frame: &FrameInfo) -> Option<String> {
    let symbol = frame.symbols().first();
    let name = symbol.and_then(|symbol| symbol.name());
    let name = name.or_else(|| frame.func_name())?;
    let line = symbol.and_then(|symbol| Some((symbol.file()?, symbol.line()?)));
    Some(match line {
        Some((file, line)) => format!("`{name}` ({file}:{line})"),
        None => format!("`{name}`"),
    })
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Linker, Module, Store};

    use super::*;
    use crate::pipeline::runtime::settings;

    /// A module whose only function traps. It is exported as `a`.
    const TRAPS: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\
        \x07\x05\x01\x01a\0\0\x0a\x05\x01\x03\0\0\x0b";
    /// The names of its functions: that one is `crash`.
    const NAMES: &[u8] = b"\0\x0f\x04name\x01\x08\x01\0\x05crash";

    fn trap(module: &[u8]) -> String {
        let mut config = settings(None);
        config.epoch_interruption(false);
        let engine = Engine::new(&config).unwrap();
        let module = Module::from_binary(&engine, module).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine)
            .instantiate(&mut store, &module)
            .unwrap();
        let function = instance.get_typed_func::<(), ()>(&mut store, "a").unwrap();
        text(&function.call(&mut store, ()).unwrap_err())
    }

    #[test]
    fn a_trap_names_the_function_if_the_plugin_has_names() {
        let cause = "wasm trap: wasm `unreachable` instruction executed";
        assert_eq!(trap(TRAPS), cause);
        let named = [TRAPS, NAMES].concat();
        assert_eq!(trap(&named), format!("{cause}, in `crash`"));
    }
}
