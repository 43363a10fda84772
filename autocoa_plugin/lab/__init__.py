"""What one does with an agent: prepare data, evaluate, compare, synthesize, look, chat. The core never imports it."""
