//! Statements with their parameters, as owned values that can be sent again.
//!
//! Parameters are typed and statements unnamed, so that no statement outlives its transaction.

use std::error::Error;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_postgres::{
    Row,
    types::{IsNull, ToSql, Type, to_sql_checked},
};

/// A parameter.
#[derive(Clone, Debug)]
pub(crate) enum Param {
    Big(i64),
    MaybeBig(Option<i64>),
    Int(i32),
    Double(f64),
    Text(Option<String>),
    Bytes(Bytes),
    Uuid([u8; 16]),
    /// An array in its wire form.
    Array(Type, Bytes),
}

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) sql: &'static str,
    pub(crate) params: Vec<Param>,
}

impl Call {
    pub(crate) fn new(sql: &'static str, params: Vec<Param>) -> Self {
        Self { sql, params }
    }

    pub(crate) async fn query(&self, client: &tokio_postgres::Client) -> Result<Vec<Row>, tokio_postgres::Error> {
        let params: Vec<(&(dyn ToSql + Sync), Type)> =
            self.params.iter().map(|param| (param as &(dyn ToSql + Sync), param.type_of())).collect();
        client.query_typed(self.sql, &params).await
    }
}

impl Param {
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }

    fn type_of(&self) -> Type {
        match self {
            Self::Big(_) | Self::MaybeBig(_) => Type::INT8,
            Self::Int(_) => Type::INT4,
            Self::Double(_) => Type::FLOAT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
            Self::Uuid(_) => Type::UUID,
            Self::Array(array, _) => array.clone(),
        }
    }
}

impl ToSql for Param {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Big(number) => number.to_sql(ty, out),
            Self::MaybeBig(number) => number.to_sql(ty, out),
            Self::Int(number) => number.to_sql(ty, out),
            Self::Double(number) => number.to_sql(ty, out),
            Self::Text(text) => text.to_sql(ty, out),
            Self::Bytes(bytes) | Self::Array(_, bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
            Self::Uuid(bytes) => {
                out.put_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// `bytea[]`, written once: batches are large, and a vector of vectors would be written twice.
pub(crate) fn byteas<'a>(items: impl ExactSizeIterator<Item = Option<&'a [u8]>>, bytes: usize) -> Param {
    array(Type::BYTEA_ARRAY, &Type::BYTEA, items, bytes, |item, out| out.put_slice(item))
}

pub(crate) fn bigs(items: &[i64]) -> Param {
    array(Type::INT8_ARRAY, &Type::INT8, items.iter().map(|item| Some(*item)), items.len() * 8, |item, out| {
        out.put_i64(item);
    })
}

pub(crate) fn smalls(items: &[i16]) -> Param {
    array(Type::INT2_ARRAY, &Type::INT2, items.iter().map(|item| Some(*item)), items.len() * 2, |item, out| {
        out.put_i16(item);
    })
}

pub(crate) fn texts(items: &[impl AsRef<str>]) -> Param {
    let bytes = items.iter().map(|item| item.as_ref().len()).sum();
    let items = items.iter().map(|item| Some(item.as_ref().as_bytes()));
    array(Type::TEXT_ARRAY, &Type::TEXT, items, bytes, |item, out| out.put_slice(item))
}

/// One dimension, an element type, counted from 1, every element behind its length.
fn array<T>(
    array: Type,
    element: &Type,
    items: impl ExactSizeIterator<Item = Option<T>>,
    bytes: usize,
    mut put: impl FnMut(T, &mut BytesMut),
) -> Param {
    let mut out = BytesMut::with_capacity(20 + items.len() * 4 + bytes);
    out.put_i32(1);
    out.put_i32(1);
    out.put_u32(element.oid());
    out.put_i32(i32::try_from(items.len()).unwrap_or(i32::MAX));
    out.put_i32(1);
    for item in items {
        let Some(item) = item else {
            out.put_i32(-1);
            continue;
        };
        let at = out.len();
        out.put_i32(0);
        put(item, &mut out);
        let len = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
        if let Some(slot) = out.get_mut(at..at + 4) {
            slot.copy_from_slice(&len.to_be_bytes());
        }
    }
    Param::Array(array, out.freeze())
}
