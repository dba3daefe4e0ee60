"""The adversarial model test of accounting: what may be delivered, and what an adversary gets out of three ways."""
