//! Structs and enumerations that cross between the two sides.

/// An enumeration of one byte, with a name for each value.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The value with this number on the wire, if there is one.
            pub const fn from_wire(value: u8) -> Option<Self> {
                match value { $($value => Some(Self::$variant),)* _ => None }
            }
            /// The name in output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

/// Structs as both sides have them in memory. The user side reads and writes them as bytes; that they
/// have no padding of the compiler's is checked there. The kernel side copies them whole, and is built
/// without the library.
macro_rules! wire_struct {
    ($($(#[$meta:meta])* pub struct $name:ident $body:tt)+) => {$(
        $(#[$meta])*
        #[cfg_attr(
            not(target_arch = "bpf"),
            derive(
                zerocopy::FromBytes,
                zerocopy::Immutable,
                zerocopy::IntoBytes,
                zerocopy::KnownLayout,
            )
        )]
        #[repr(C)]
        pub struct $name $body
    )+};
}
