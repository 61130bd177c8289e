//! A text or a list that an answer borrows: [`Lent`].

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use rkyv::rancor::Fallible;
use rkyv::string::ArchivedString;
use rkyv::vec::ArchivedVec;
use rkyv::with::{ArchiveWith, AsOwned, DeserializeWith, SerializeWith};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::Wire;

/// A text (`Lent<'a, str>`) or a list (`Lent<'a, [T]>`) in an answer, lent by the daemon.
///
/// It travels as a `String` or a `Vec<T>` does: the client sees no difference, and [`Wire::LAYOUT`] has none. So a
/// daemon answers with what it holds, or with what it was asked, and clones nothing:
/// [`Responder::reply_lent`](crate::Responder::reply_lent) takes an answer that borrows. Everybody else, handlers of
/// [`Server::serve`](crate::Server::serve) too, has answers that own what they hold; `from` takes that as well.
///
/// ```
/// use libgrite_ipc::{Client, Error, Lent, Protocol, testing, wire};
///
/// wire! {
///     /// Words that start with a prefix.
///     pub struct Query { pub prefix: String }
///     /// The words found.
///     pub struct Hits<'a> { pub words: Vec<Lent<'a, str>> }
/// }
///
/// enum Search {}
/// impl Protocol for Search {
///     type Request = Query;
///     type Response = Hits<'static>;
///     const NAME: &'static str = "search";
///     const VERSION: u16 = 1;
/// }
///
/// # fn main() -> Result<(), Error> {
/// let words = ["sail".to_owned(), "salt".to_owned(), "tide".to_owned()];
/// let mut client = testing::pair_serving::<Search>(&Client::builder(), move |query, responder| {
///     let hits = words.iter().filter(|word| word.starts_with(query.prefix.as_str()));
///     // Whoever gave up is not told.
///     let _ = responder.reply_lent(&Hits { words: hits.map(Lent::from).collect() });
/// });
/// assert_eq!(client.send(&Query { prefix: "sa".to_owned() })?.words, ["sail", "salt"]);
/// # Ok(())
/// # }
/// ```
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lent<'a, B: ToOwned + ?Sized>(Cow<'a, B>);

impl<B: ToOwned + ?Sized> Lent<'_, B> {
    /// The value as one's own: copied if it was lent.
    pub fn into_owned(self) -> B::Owned {
        self.0.into_owned()
    }
}

impl<B: ToOwned + ?Sized> Deref for Lent<'_, B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.0
    }
}

impl<'a, B: ToOwned + ?Sized> From<&'a B> for Lent<'a, B> {
    fn from(lent: &'a B) -> Self {
        Lent(Cow::Borrowed(lent))
    }
}

impl<'a> From<&'a String> for Lent<'a, str> {
    fn from(lent: &'a String) -> Self {
        Lent(Cow::Borrowed(lent))
    }
}

impl<'a, T: Clone> From<&'a Vec<T>> for Lent<'a, [T]> {
    fn from(lent: &'a Vec<T>) -> Self {
        Lent(Cow::Borrowed(lent))
    }
}

impl From<String> for Lent<'_, str> {
    fn from(own: String) -> Self {
        Lent(Cow::Owned(own))
    }
}

impl<T: Clone> From<Vec<T>> for Lent<'_, [T]> {
    fn from(own: Vec<T>) -> Self {
        Lent(Cow::Owned(own))
    }
}

impl<B: ToOwned + ?Sized> Clone for Lent<'_, B> {
    fn clone(&self) -> Self {
        Lent(self.0.clone())
    }
}

impl<B: ToOwned + fmt::Debug + ?Sized> fmt::Debug for Lent<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Wire for Lent<'_, str> {
    const LAYOUT: u64 = String::LAYOUT;
}

impl<T: Wire + Clone> Wire for Lent<'_, [T]> {
    const LAYOUT: u64 = Vec::<T>::LAYOUT;
}

impl<'a, B: ToOwned + ?Sized> Archive for Lent<'a, B>
where
    AsOwned: ArchiveWith<Cow<'a, B>>,
{
    type Archived = <AsOwned as ArchiveWith<Cow<'a, B>>>::Archived;
    type Resolver = <AsOwned as ArchiveWith<Cow<'a, B>>>::Resolver;

    fn resolve(&self, resolver: Self::Resolver, out: Place<Self::Archived>) {
        AsOwned::resolve_with(&self.0, resolver, out);
    }
}

impl<'a, B: ToOwned + ?Sized, S: Fallible + ?Sized> Serialize<S> for Lent<'a, B>
where
    AsOwned: SerializeWith<Cow<'a, B>, S>,
{
    fn serialize(&self, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        AsOwned::serialize_with(&self.0, serializer)
    }
}

impl<'a, D: Fallible + ?Sized> Deserialize<Lent<'a, str>, D> for ArchivedString {
    fn deserialize(&self, deserializer: &mut D) -> Result<Lent<'a, str>, D::Error> {
        AsOwned::deserialize_with(self, deserializer).map(Lent)
    }
}

impl<'a, A, T: Clone, D: Fallible + ?Sized> Deserialize<Lent<'a, [T]>, D> for ArchivedVec<A>
where
    AsOwned: DeserializeWith<ArchivedVec<A>, Cow<'a, [T]>, D>,
{
    fn deserialize(&self, deserializer: &mut D) -> Result<Lent<'a, [T]>, D::Error> {
        AsOwned::deserialize_with(self, deserializer).map(Lent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Encoded;

    crate::wire! {
        struct Own { name: String, numbers: Vec<u32>, words: Vec<String> }
    }

    mod lent {
        use super::super::Lent;

        crate::wire! {
            pub(super) struct Own<'a> {
                pub(super) name: Lent<'a, str>,
                pub(super) numbers: Lent<'a, [u32]>,
                pub(super) words: Vec<Lent<'a, str>>,
            }
        }
    }

    fn own() -> Own {
        Own { name: "a text of some length".to_owned(), numbers: vec![1, 2], words: vec!["sea".to_owned()] }
    }

    #[test]
    fn what_is_lent_has_the_bytes_and_the_layout_of_what_is_owned() {
        let own = own();
        let lent = lent::Own {
            name: Lent::from(&own.name),
            numbers: Lent::from(&own.numbers),
            words: own.words.iter().map(Lent::from).collect(),
        };
        assert_eq!(Encoded::new(&lent).unwrap().as_bytes(), Encoded::new(&own).unwrap().as_bytes());
        assert_eq!(lent::Own::LAYOUT, Own::LAYOUT);
    }

    #[test]
    fn what_arrives_is_the_receivers_own() {
        let bytes = Encoded::new(&own()).unwrap();
        let read = crate::protocol::check::<lent::Own<'static>>(bytes.as_bytes()).unwrap();
        let value: lent::Own<'static> = rkyv::deserialize::<_, rkyv::rancor::Error>(read).unwrap();
        assert_eq!(value.name.into_owned(), own().name);
        assert_eq!(value.numbers.into_owned(), own().numbers);
        assert_eq!(value.words, [Lent::from("sea")]);
    }

    #[test]
    fn what_was_archived_of_lent_values_is_kept_without_them() {
        let kept: Encoded<lent::Own<'static>> = {
            let own = own();
            let words = own.words.iter().map(Lent::from).collect();
            let lent = lent::Own { name: Lent::from(&own.name), numbers: Vec::new().into(), words };
            Encoded::new(&lent).unwrap()
        };
        assert!(kept.len() > 0);
    }
}
