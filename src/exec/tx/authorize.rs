//! Authorizations (EIP-7702): whose they are, what they cost, and the delegations that they write.

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
    /// The authority of an authorization that passes every check up to loading it (EIP-7702); loaded and warmed.
    fn authority(&mut self, authorization: &Authorization, signer: Option<Address>) -> Result<Option<AccountId>, Halt> {
        let chain_ok = authorization.chain_id.is_zero() || authorization.chain_id == U256::from(self.chain.chain_id);
        let Some(signer) = signer.filter(|_| chain_ok && authorization.nonce != u64::MAX) else {
            return Ok(None);
        };
        let id = self.state.account_id(&signer)?;
        self.state.warm(id);
        let row = *self.state.load(id)?;
        if row.code != EMPTY_CODE && self.state.code(row.code)?.delegation().is_none() {
            return Ok(None);
        }
        Ok((self.state.nonce(id) == authorization.nonce).then_some(id))
    }

    /// Writes a delegation, or clears the code for the zero address.
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

    /// EIP-7702 as Prague and Osaka have it; returns the refund for authorities that existed.
    pub(super) fn authorize_prague(&mut self, input: &TxInput<'b>) -> Result<u64, Halt> {
        let mut refund = 0;
        for (authorization, signer) in input.authorizations().iter().zip(input.authorities) {
            if let Some(authority) = self.authority(authorization, *signer)? {
                if self.state.is_in_state(authority) {
                    refund += 12_500;
                }
                self.delegate(authority, authorization);
            }
        }
        Ok(refund)
    }

    /// EIP-7702 as Amsterdam has it: charges at run time, each at most once per authority (EIP-8037, 8038).
    pub(super) fn authorize_amsterdam(
        &mut self,
        input: &TxInput<'b>,
        sender: AccountId,
        gas_left: &mut GasLeft,
    ) -> Result<(), Halt> {
        let tx = input.row();
        let rules = self.rules;
        // Authorities written so far, and those whose delegation was paid for; lists are short and quadratic only in gas.
        let mut written: smallvec::SmallVec<[AccountId; 8]> = smallvec::smallvec![sender];
        let mut delegated: smallvec::SmallVec<[AccountId; 8]> = smallvec::SmallVec::new();
        if let Some(to) = tx.to.filter(|_| !tx.value.is_zero())
            && let Some(to) = self.state.account_id_if_known(&to)
        {
            written.push(to);
        }
        for (authorization, signer) in input.authorizations().iter().zip(input.authorities) {
            let Some(authority) = self.authority(authorization, *signer)? else { continue };
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
