//! Authorizations (EIP-7702): their validity, their gas, and the delegations that they write.
//!
//! In: a transaction's authorizations and their authorities. Out: delegations in the state; a refund (Prague, Osaka) or
//! charged gas (Amsterdam).
//! Not here: intrinsic gas of authorizations (`validity`), recovery of authorities (`senders`).

use super::{GasLeft, TxInput};
use crate::arena::AccountId;
use crate::arena::code::{DELEGATION_PREFIX, EMPTY_CODE};
use crate::exec::evm::halt::Halt;
use crate::exec::evm::host::charge;
use crate::exec::evm::machine::Evm;
use crate::exec::rules::fork::ACCOUNT_WRITE;
use crate::exec::wire::Authorization;
use alloy_primitives::{Address, U256};

impl<'b> Evm<'b> {
    /// The authority of an authorization, loaded and warmed, if the authorization passes all checks of EIP-7702; else
    /// `None`.
    fn authority(
        &mut self,
        authorization: &Authorization,
        recovered: Option<Address>,
    ) -> Result<Option<AccountId>, Halt> {
        let chain_ok = authorization.chain_id.is_zero() || authorization.chain_id == U256::from(self.chain.chain_id);
        let Some(address) = recovered.filter(|_| chain_ok && authorization.nonce != u64::MAX) else {
            return Ok(None);
        };
        let id = self.state.account_id(&address)?;
        self.state.warm(id);
        let row = *self.state.load(id)?;
        if row.code != EMPTY_CODE && self.state.code(row.code)?.delegation().is_none() {
            return Ok(None);
        }
        Ok((self.state.nonce(id) == authorization.nonce).then_some(id))
    }

    /// Sets the authority's code to the delegation, or to empty code for the zero address, and increments its nonce.
    fn delegate(&mut self, authority: AccountId, authorization: &Authorization) {
        let code = if authorization.address == Address::ZERO {
            EMPTY_CODE
        } else {
            let mut designator = [0; 23];
            designator[..3].copy_from_slice(&DELEGATION_PREFIX);
            designator[3..].copy_from_slice(authorization.address.as_slice());
            self.state.codes.insert_hashing(designator)
        };
        self.state.set_code(authority, code);
        self.state.set_nonce(authority, authorization.nonce + 1);
    }

    /// Processes the authorizations as in Prague and Osaka. Returns the gas refund for authorities that existed before.
    pub(super) fn authorize_prague(&mut self, input: &TxInput<'b>) -> Result<u64, Halt> {
        let mut refund = 0;
        for (authorization, recovered) in input.authorizations().iter().zip(input.authorities) {
            if let Some(authority) = self.authority(authorization, *recovered)? {
                if self.state.is_in_state(authority) {
                    refund += 12_500;
                }
                self.delegate(authority, authorization);
            }
        }
        Ok(refund)
    }

    /// Processes the authorizations as in Amsterdam: gas is charged during execution, each charge at most once per
    /// authority (EIP-8037, 8038).
    ///
    /// # Errors
    /// [`Halt::OutOfGas`] where a charge fails, [`Halt::Fault`] where loading an authority fails.
    pub(super) fn authorize_amsterdam(
        &mut self,
        input: &TxInput<'b>,
        sender: AccountId,
        gas_left: &mut GasLeft,
    ) -> Result<(), Halt> {
        let tx = input.row();
        let rules = self.rules;
        // Accounts written so far, and authorities whose delegation was charged. They are searched linearly:
        // intrinsic gas bounds the number of authorizations.
        let mut written: smallvec::SmallVec<[AccountId; 8]> = smallvec::smallvec![sender];
        let mut delegated: smallvec::SmallVec<[AccountId; 8]> = smallvec::SmallVec::new();
        if let Some(to) = tx.to.filter(|_| !tx.value.is_zero())
            && let Some(to) = self.state.account_id_if_known(&to)
        {
            written.push(to);
        }
        for (authorization, recovered) in input.authorizations().iter().zip(input.authorities) {
            let Some(authority) = self.authority(authorization, *recovered)? else { continue };
            let row = *self.state.row(authority);
            if self.state.is_empty(authority)
                && !self.gas.charge_state(&mut gas_left.left, &mut gas_left.spilled, rules.state_new_account)
            {
                return Err(Halt::OutOfGas);
            }
            if !written.contains(&authority) {
                charge(&mut gas_left.left, ACCOUNT_WRITE)?;
                written.push(authority);
            }
            if authorization.address != Address::ZERO && row.code_start == EMPTY_CODE && !delegated.contains(&authority)
            {
                if !self.gas.charge_state(&mut gas_left.left, &mut gas_left.spilled, rules.state_auth_base) {
                    return Err(Halt::OutOfGas);
                }
                delegated.push(authority);
            }
            self.delegate(authority, authorization);
        }
        Ok(())
    }
}
