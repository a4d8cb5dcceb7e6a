"""What is asked, and was it right? The task kinds: a generator and a verifier in one small file each."""
