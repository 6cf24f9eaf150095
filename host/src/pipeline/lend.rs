//! What a call lends to a plugin: views in the instance's table, to which the plugin gets borrowed
//! handles.

use wasmtime::component::{Resource, ResourceTableError};

use super::host_functions::Host;

/// Some views that one call lends.
pub(super) trait Lend: Sized {
    /// The handles to them.
    type Handles;

    fn lend(self, host: &mut Host) -> Result<Self::Handles, ResourceTableError>;

    /// The handles that the plugin gets.
    fn borrowed(handles: &Self::Handles) -> Self::Handles;

    /// Takes the views back. `None` if the table has lost one of them.
    fn take_back(handles: Self::Handles, host: &mut Host) -> Option<Self>;
}

macro_rules! lend {
    ($($view:ident $at:tt),*) => {
        impl<$($view: Send + 'static),*> Lend for ($($view,)*) {
            type Handles = ($(Resource<$view>,)*);

            fn lend(self, host: &mut Host) -> Result<Self::Handles, ResourceTableError> {
                Ok(($(host.lend(self.$at)?,)*))
            }

            fn borrowed(handles: &Self::Handles) -> Self::Handles {
                ($(Resource::new_borrow(handles.$at.rep()),)*)
            }

            fn take_back(handles: Self::Handles, host: &mut Host) -> Option<Self> {
                Some(($(host.table.delete(handles.$at).ok()?,)*))
            }
        }
    };
}

lend!(A 0);
lend!(A 0, B 1);
lend!(A 0, B 1, C 2);
