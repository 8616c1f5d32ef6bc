"""Results to tables, JSON and text in English and Korean; human units live here only."""
