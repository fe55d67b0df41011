"""Networks: built, trained by a compiled epoch, evaluated, and looked into. The one room that knows TensorFlow."""
