//! The macro that exports a plugin's hooks from a component.

/// Makes a component of a plugin: `export!(MyRule: AttemptHook, ResponseHook);`, once per crate.
///
/// Exactly the listed hooks are exported, and the gateway calls no other. Natively nothing is
/// exported; the compiler still checks that the plugin has the hooks.
#[macro_export]
macro_rules! export {
    ($rule:ty: $($hook:ident),+ $(,)?) => {
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn has_the_hooks<Rule: $($crate::$hook +)+>() {}
            has_the_hooks::<$rule>();
        };

        #[cfg(target_family = "wasm")]
        const _: () = {
            // One instance of the component sees one exchange and one call at a time.
            ::std::thread_local! {
                static RULE: ::std::cell::RefCell<::std::option::Option<$rule>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            impl $crate::__wasm::Held for $rule {
                const VERSION: &'static str = ::std::env!("CARGO_PKG_VERSION");

                fn with<T>(
                    act: impl ::std::ops::FnOnce(&mut Self) -> ::std::result::Result<T, $crate::Error>,
                ) -> ::std::result::Result<T, $crate::Error> {
                    RULE.with_borrow_mut(|held| match held {
                        ::std::option::Option::Some(rule) => act(rule),
                        ::std::option::Option::None => act(held.insert($crate::__wasm::make()?)),
                    })
                }
            }

            type Component = $crate::__wasm::Exports<$rule>;

            $crate::__wasm::plugin_world::export_plugin!(
                Component with_types_in $crate::__wasm::plugin_world
            );
            $($crate::__export_hook!($hook Component);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (RequestHook $component:ident) => {
        $crate::__wasm::request_world::export_request!(
            $component with_types_in $crate::__wasm::request_world
        );
    };
    (AttemptHook $component:ident) => {
        $crate::__wasm::attempt_world::export_attempt!(
            $component with_types_in $crate::__wasm::attempt_world
        );
    };
    (FailureHook $component:ident) => {
        $crate::__wasm::failure_world::export_failure!(
            $component with_types_in $crate::__wasm::failure_world
        );
    };
    (ResponseHook $component:ident) => {
        $crate::__wasm::response_world::export_response!(
            $component with_types_in $crate::__wasm::response_world
        );
    };
}
