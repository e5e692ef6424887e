"""The Template Interaction Module (TIM): align to the template, trust points, fit the field (section 3.2)."""
