//! What may travel: [`Wire`], its layout hash, and the macro that defines wire types.
//!
//! A wire type is an rkyv type whose archived layout can be named by a number. Both sides compare
//! that number in the handshake, so bytes that were laid out by other definitions are refused
//! there and never reinterpreted. The trait also keeps out what a hostile archive could abuse:
//! shared pointers, maps, `usize`, vectors of zero-sized items and recursive types do not
//! implement it. A layout that contains itself is a compile error. One that is written by hand can leave itself out,
//! and so be of a recursive type: then what stands in is the limit to which a check follows pointers.

use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error, Strategy};
use rkyv::ser::Serializer;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::{Archive, Archived, Portable, Serialize};

use super::codec::Output;
use crate::frame::ALIGN;

/// The serializer that wire types are written with: it cannot share pointers.
pub type Encoder<'a> = Strategy<Serializer<Output<'a>, ArenaHandle<'a>, ()>, Error>;

/// The validator that wire types are checked with: it cannot follow shared pointers.
pub type Checker<'a> = Strategy<Validator<ArchiveValidator<'a>, ()>, Error>;

/// A type that may be sent: requests, responses and all that they hold.
///
/// Define wire types with [`wire!`](crate::wire), which writes the rkyv derives and
/// [`LAYOUT`](Wire::LAYOUT) for you. An rkyv type of your own can implement the trait by hand
/// with a [`Layout`] that names its fields.
///
/// ```
/// libgrite_ipc::wire! {
///     /// A place on a map.
///     pub struct Place {
///         /// Its name.
///         pub name: String,
///         /// Its height above the sea, in metres.
///         pub height: Option<i32>,
///     }
/// }
/// # fn main() {}
/// ```
///
/// A type that holds itself has no layout and does not compile:
///
/// ```compile_fail
/// libgrite_ipc::wire! {
///     struct Nest { inner: Vec<Nest> }
/// }
/// # fn main() {}
/// ```
///
/// Neither does one that has a field or a variant under a condition, since two programs that were built under different
/// ones would each take it for their own:
///
/// ```compile_fail,E0080
/// libgrite_ipc::wire! {
///     enum Order {
///         Look { id: u64 },
///         #[cfg(feature = "admin")]
///         Wipe { id: u64 },
///         Count { id: u64 },
///     }
/// }
/// # fn main() { println!("{}", <Order as libgrite_ipc::Wire>::LAYOUT); }
/// ```
///
/// Nor one whose archive begins at multiples of more than 16 bytes, once its layout is asked for:
///
/// ```compile_fail,E0080
/// libgrite_ipc::wire! {
///     #[rkyv(attr(repr(align(64))))]
///     struct Wide { number: u32 }
/// }
/// # fn main() { println!("{}", <Wide as libgrite_ipc::Wire>::LAYOUT); }
/// ```
pub trait Wire:
    Archive<Archived: Portable + for<'a> CheckBytes<Checker<'a>>> + for<'a> Serialize<Encoder<'a>>
{
    /// A hash of the archived layout and of the names that give it its meaning.
    const LAYOUT: u64;
}

/// Builds a [`Wire::LAYOUT`] in a constant: the FNV-1a hash of names, sizes and nested layouts.
///
/// ```
/// use libgrite_ipc::{Layout, Wire};
///
/// const PAIR: u64 = Layout::named("Pair").field("left", u32::LAYOUT).field("right", u8::LAYOUT).hash();
/// const SWAPPED: u64 = Layout::named("Pair").field("right", u8::LAYOUT).field("left", u32::LAYOUT).hash();
/// assert_ne!(PAIR, SWAPPED);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Layout(u64);

impl Layout {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;

    /// Starts the layout of the type `name`.
    pub const fn named(name: &str) -> Self {
        Layout(Self::OFFSET_BASIS).text(name)
    }

    /// The same for a type that everybody has: none of a program's own has such a name.
    const fn common(name: &str) -> Self {
        Layout(Self::OFFSET_BASIS).text("common type").text(name)
    }

    /// Adds the field `name` with the layout of its type.
    pub const fn field(self, name: &str, layout: u64) -> Self {
        self.text(name).number(layout)
    }

    /// Adds the enum variant `name`; its fields follow.
    pub const fn variant(self, name: &str) -> Self {
        self.number(u64::MAX).text(name)
    }

    /// Adds what an attribute says that has to do with archives: a field may be archived as something else. How it is
    /// spaced is the compiler's choice.
    #[doc(hidden)]
    pub const fn attribute(self, text: &str) -> Self {
        let bytes = text.as_bytes();
        assert!(
            !matches!(bytes.first_chunk(), Some(b"cfg")),
            "what a wire type is may not depend on a condition"
        );
        if !matches!(bytes.first_chunk(), Some(b"rkyv")) {
            return self;
        }
        let (mut layout, mut index) = (self, 0);
        while index < bytes.len() {
            if !bytes[index].is_ascii_whitespace() {
                layout = layout.bytes(&[bytes[index]]);
            }
            index += 1;
        }
        layout
    }

    /// Adds the size and alignment that `T` has in an archive.
    ///
    /// Where that is more than 16, the program does not compile: messages begin at multiples of 16.
    pub const fn shape<T: Archive>(self) -> Self {
        const { assert!(align_of::<Archived<T>>() <= ALIGN, "messages begin at multiples of 16 bytes") };
        self.number(size_of::<Archived<T>>() as u64).number(align_of::<Archived<T>>() as u64)
    }

    /// The finished hash.
    pub const fn hash(self) -> u64 {
        self.0
    }

    /// Adds `number`, in an order of bytes that no platform changes.
    pub const fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    const fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).number(text.len() as u64)
    }

    /// Adds `bytes` as they are.
    pub(crate) const fn bytes(self, bytes: &[u8]) -> Self {
        let mut hash = self.0;
        let mut index = 0;
        while index < bytes.len() {
            hash = (hash ^ bytes[index] as u64).wrapping_mul(Self::PRIME);
            index += 1;
        }
        Layout(hash)
    }
}

macro_rules! primitive {
    ($($ty:ty),* $(,)?) => {$(
        impl Wire for $ty {
            const LAYOUT: u64 = Layout::common(stringify!($ty)).shape::<$ty>().hash();
        }
    )*};
}

primitive!((), bool, char, u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, String);

impl<T: Wire> Wire for Option<T> {
    const LAYOUT: u64 = Layout::common("Option").field("some", T::LAYOUT).shape::<Self>().hash();
}

impl<T: Wire> Wire for Vec<T> {
    const LAYOUT: u64 = {
        assert!(
            size_of::<Archived<T>>() > 0,
            "a vector of zero-sized items has any length that a peer claims: it may not travel"
        );
        Layout::common("Vec").field("item", T::LAYOUT).shape::<Self>().hash()
    };
}

impl<T: Wire> Wire for Box<T> {
    const LAYOUT: u64 = Layout::common("Box").field("value", T::LAYOUT).shape::<Self>().hash();
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    const LAYOUT: u64 =
        Layout::common("array").field("item", T::LAYOUT).number(N as u64).shape::<Self>().hash();
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    const LAYOUT: u64 =
        Layout::common("pair").field("0", A::LAYOUT).field("1", B::LAYOUT).shape::<Self>().hash();
}

/// Defines structs and enums that may travel, with their rkyv derives and their [`Wire::LAYOUT`].
///
/// Inside stand ordinary items: structs with named fields, and enums whose variants are units, hold
/// one value, or have named fields. An attribute of rkyv's is part of the layout. A lifetime, for what is
/// [`Lent`](crate::Lent), is the only generic that they may have. All that they hold is [`Wire`], and rkyv can
/// deserialize it. Each also gets `Debug`, `Clone` and `PartialEq`.
///
/// For each type `X` there is an `ArchivedX`, which handlers and clients read where it lies: its numbers by `to_native()`,
/// its texts by `as_str()`. [`Message::to_value`](crate::Message::to_value) and
/// [`Reply::to_value`](crate::Reply::to_value) make an `X` of it.
///
/// ```
/// libgrite_ipc::wire! {
///     /// What a client may ask.
///     pub enum Question {
///         /// How many words there are.
///         Count,
///         /// The words that start so.
///         Prefix(String),
///         /// A page of them.
///         Page {
///             /// The first word's number.
///             start: u32,
///             /// How many, at most.
///             limit: u32,
///         },
///     }
/// }
/// # fn main() {
/// use libgrite_ipc::Wire;
/// assert_ne!(Question::LAYOUT, u32::LAYOUT);
/// # }
/// ```
#[macro_export]
macro_rules! wire {
    () => {};
    // The bounds are named once for the type. With one for each field, as rkyv would write them, the compiler knows of
    // a field that borrows only that it can be archived, and not as what.
    (@derive $($item:tt)*) => {
        #[derive(Clone, Debug, PartialEq, $crate::rkyv::Archive, $crate::rkyv::Serialize, $crate::rkyv::Deserialize)]
        #[rkyv(
            crate = $crate::rkyv,
            derive(Debug),
            serialize_bounds(
                __S: $crate::rkyv::ser::Writer + $crate::rkyv::ser::Allocator,
                __S::Error: $crate::rkyv::rancor::Source,
            ),
            deserialize_bounds(__D::Error: $crate::rkyv::rancor::Source),
            bytecheck(bounds(
                __C: $crate::rkyv::validation::ArchiveContext,
                __C::Error: $crate::rkyv::rancor::Source,
            )),
        )]
        $($item)*
    };
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident $(<$life:lifetime>)? {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $ty:ty),* $(,)?
        }
        $($rest:tt)*
    ) => {
        $crate::wire! {
            @derive
            $(#[$meta])*
            $vis struct $name $(<$life>)? {
                $($(#[$field_meta])* #[rkyv(omit_bounds)] $field_vis $field: $ty,)*
            }
        }

        impl $(<$life>)? $crate::Wire for $name $(<$life>)? {
            const LAYOUT: u64 = $crate::Layout::named(stringify!($name))
                $(.attribute(stringify!($meta)))*
                $(
                    $(.attribute(stringify!($field_meta)))*
                    .field(stringify!($field), <$ty as $crate::Wire>::LAYOUT)
                )*
                .shape::<Self>()
                .hash();
        }

        $crate::wire! { $($rest)* }
    };
    (
        $(#[$meta:meta])* $vis:vis enum $name:ident $(<$life:lifetime>)? {
            $(
                $(#[$variant_meta:meta])* $variant:ident
                $(( $(#[$inner_meta:meta])* $inner:ty $(,)? ))?
                $({ $($(#[$field_meta:meta])* $field:ident : $ty:ty),* $(,)? })?
            ),* $(,)?
        }
        $($rest:tt)*
    ) => {
        $crate::wire! {
            @derive
            $(#[$meta])*
            $vis enum $name $(<$life>)? {
                $(
                    $(#[$variant_meta])* $variant
                    $(( $(#[$inner_meta])* #[rkyv(omit_bounds)] $inner ))?
                    $({ $($(#[$field_meta])* #[rkyv(omit_bounds)] $field: $ty),* })?
                ),*
            }
        }

        impl $(<$life>)? $crate::Wire for $name $(<$life>)? {
            const LAYOUT: u64 = $crate::Layout::named(stringify!($name))
                $(.attribute(stringify!($meta)))*
                $(
                    $(.attribute(stringify!($variant_meta)))*
                    .variant(stringify!($variant))
                    $(
                        $(.attribute(stringify!($inner_meta)))*
                        .field("0", <$inner as $crate::Wire>::LAYOUT)
                    )?
                    $($(
                        $(.attribute(stringify!($field_meta)))*
                        .field(stringify!($field), <$ty as $crate::Wire>::LAYOUT)
                    )*)?
                )*
                .shape::<Self>()
                .hash();
        }

        $crate::wire! { $($rest)* }
    };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    mod plain {
        wire! { pub struct Found { pub count: u32 } }
    }

    mod boxed {
        wire! {
            pub struct Found {
                /// Archived as a place where the number lies.
                #[rkyv(with = rkyv::with::AsBox)]
                pub count: u32,
            }
        }
    }

    mod documented {
        wire! {
            pub struct Found {
                /// How many there are.
                pub count: u32,
            }
        }
    }

    #[test]
    fn a_field_that_is_archived_as_something_else_makes_another_layout() {
        use rkyv::Archived;
        assert_eq!(size_of::<Archived<plain::Found>>(), size_of::<Archived<boxed::Found>>());
        assert_ne!(plain::Found::LAYOUT, boxed::Found::LAYOUT);
        assert_eq!(plain::Found::LAYOUT, documented::Found::LAYOUT);
    }

    #[test]
    fn a_type_of_ones_own_is_not_taken_for_one_that_everybody_has() {
        mod own {
            wire! {
                pub struct Box { pub value: u32 }
                pub struct Vec { pub item: String }
            }
        }
        assert_ne!(own::Box::LAYOUT, Box::<u32>::LAYOUT);
        assert_ne!(own::Vec::LAYOUT, Vec::<String>::LAYOUT);
    }
}
